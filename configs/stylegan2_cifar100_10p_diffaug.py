"""Unconditional StyleGAN2 on 10 % of CIFAR-100's training split, with DiffAugment.

The baseline of disp_stylegan2_cifar100_10p_diffaug.py.
"""

_base_ = 'stylegan2_cifar100_10p_unconditional.py'

# the policy of DiffAugment's code for this share of CIFAR, which the paper uses
model = dict(
    discriminator=dict(augmentation=dict(type='DiffAugment', policy='color,translation,cutout')))
