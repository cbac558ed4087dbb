"""DISP-StyleGAN2 on Panda-100 at 256 px, fine-tuned from FFHQ, with DiffAugment."""

_base_ = 'disp_stylegan2_panda.py'

# the policy of DiffAugment's code for 100 images, which the paper uses
model = dict(
    discriminator=dict(augmentation=dict(type='DiffAugment', policy='color,translation,cutout')))
