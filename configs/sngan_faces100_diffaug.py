"""SNGAN with an embedding for each image on Faces-100, from scratch, with DiffAugment.

The baseline of disp_sngan_faces100_diffaug.py.
"""

_base_ = 'sngan_faces100_per_image.py'

model = dict(
    # the three augmentations are the paper's
    discriminator=dict(augmentation=dict(type='DiffAugment', policy='color,translation,cutout')),
    # the weight is not stated in the paper
    disc_losses=dict(
        consistency=dict(type='ConsistencyRegularization', loss_weight=10.0)))
