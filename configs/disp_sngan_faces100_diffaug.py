"""DISP-SNGAN on Faces-100, from scratch, with DiffAugment."""

_base_ = 'disp_sngan_faces100.py'

model = dict(
    # the three augmentations are the paper's
    discriminator=dict(augmentation=dict(type='DiffAugment', policy='color,translation,cutout')),
    # the weight is not stated in the paper
    disc_losses=dict(
        consistency=dict(type='ConsistencyRegularization', loss_weight=10.0)))
