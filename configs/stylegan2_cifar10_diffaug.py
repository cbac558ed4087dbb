"""Unconditional StyleGAN2 on all of CIFAR-10's training split, with DiffAugment.

The baseline of disp_stylegan2_cifar10_diffaug.py.
"""

_base_ = 'stylegan2_cifar10_unconditional.py'

# the policy of DiffAugment's code for this share of CIFAR, which the paper uses
model = dict(
    discriminator=dict(augmentation=dict(type='DiffAugment', policy='color,cutout')))
