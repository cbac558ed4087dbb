"""Unconditional StyleGAN2 on Grumpy-Cat-100 at 256 px, fine-tuned from FFHQ, with DiffAugment.

The baseline of disp_stylegan2_grumpy_cat_diffaug.py.
"""

_base_ = 'stylegan2_grumpy_cat_unconditional.py'

# the policy of DiffAugment's code for 100 images, which the paper uses
model = dict(
    discriminator=dict(augmentation=dict(type='DiffAugment', policy='color,translation,cutout')))
