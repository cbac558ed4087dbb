"""DISP-BigGAN on all of CIFAR-10's training split, with DiffAugment."""

_base_ = 'disp_biggan_cifar10.py'

model = dict(
    # the three augmentations are the paper's; DiffAugment's own code has no color here
    discriminator=dict(augmentation=dict(type='DiffAugment', policy='color,translation,cutout')),
    # a smaller weight than without priors is the paper's; its value is not stated in it
    disc_losses=dict(
        consistency=dict(type='ConsistencyRegularization', loss_weight=1.0)))
