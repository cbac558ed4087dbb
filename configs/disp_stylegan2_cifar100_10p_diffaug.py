"""DISP-StyleGAN2 on 10 % of CIFAR-100's training split, with DiffAugment."""

_base_ = 'disp_stylegan2_cifar100_10p.py'

# the policy of DiffAugment's code for this share of CIFAR, which the paper uses
model = dict(
    discriminator=dict(augmentation=dict(type='DiffAugment', policy='color,translation,cutout')))
