"""FreezeD: the first blocks of a pretrained discriminator are not trained.

SNGAN: five of six blocks, as in the paper. BigGAN: four, not stated in the paper. StyleGAN2: all
but the last three of eight, as in FreezeD's own code (--feature_loc 3), not stated in the paper.
"""

freezed = dict(model=dict(discriminator=dict(freeze=dict(type='FreezeD'))))
