"""AugSelf-GAN: DiffAugment, whose parameters the discriminator also tells."""

# weights of github.com/liang-hou/augself-gan (augself-biggan/scripts)
augself = dict(
    model=dict(
        discriminator=dict(
            type='AugSelfDiscriminator',
            augmentation=dict(type='DiffAugment', policy='color,translation,cutout')),
        disc_losses=dict(augself=dict(type='AugSelfLoss', network='disc', loss_weight=1.0)),
        gen_losses=dict(augself=dict(type='AugSelfLoss', network='gen', loss_weight=1.0))))
