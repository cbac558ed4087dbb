"""SNGAN with an embedding for each image on Anime-100, from scratch, with ADA.

The baseline of disp_sngan_anime100_ada.py.
"""

_base_ = 'sngan_anime100_per_image.py'

# but for the method nothing of it is stated in the paper: mmagic's pipeline and StyleGAN2-ADA's
# target
model = dict(discriminator=dict(augmentation=dict(type='AdaptiveAugment')))
