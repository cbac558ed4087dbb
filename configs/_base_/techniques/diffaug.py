"""DiffAugment: differentiable augmentation of what the discriminator sees."""

# its three augmentations (color, translation, cutout) are the paper's
diffaug = dict(model=dict(discriminator=dict(augmentation=dict(type='DiffAugment'))))
