"""DISP-SNGAN on Anime-100, from scratch, with ADA."""

_base_ = 'disp_sngan_anime100.py'

# but for the method nothing of it is stated in the paper: mmagic's pipeline and StyleGAN2-ADA's
# target
model = dict(discriminator=dict(augmentation=dict(type='AdaptiveAugment')))
