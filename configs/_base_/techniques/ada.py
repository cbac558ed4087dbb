"""ADA: adaptive augmentation of what the discriminator sees."""

# the paper states only the method; the rest is mmagic's pipeline and StyleGAN2-ADA's target
ada = dict(model=dict(discriminator=dict(augmentation=dict(type='AdaptiveAugment'))))
