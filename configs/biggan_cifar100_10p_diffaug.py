"""Self-modulated BigGAN on 10 % of CIFAR-100's training split, with DiffAugment.

The baseline of disp_biggan_cifar100_10p_diffaug.py.
"""

_base_ = 'biggan_cifar100_10p_selfmod.py'

model = dict(
    # the three augmentations are the paper's; DiffAugment's own code has no color here
    discriminator=dict(augmentation=dict(type='DiffAugment', policy='color,translation,cutout')),
    # the weight is not stated in the paper; it is that of DiffAugment's code
    disc_losses=dict(
        consistency=dict(type='ConsistencyRegularization', loss_weight=10.0)))
