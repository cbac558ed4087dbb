"""DISP-SNGAN on Anime-100, from scratch, with DiffAugment: the paper's best row for 100 images.

It shows how a file combines a technique with a config. The command line does the same for any config:
--technique diffaug consistency.
"""

_base_ = [
    'disp_sngan_anime100.py',
    '_base_/techniques/diffaug.py',
    '_base_/techniques/consistency.py',
]

model = dict(
    discriminator=_base_.diffaug.model.discriminator,
    disc_losses=_base_.consistency.model.disc_losses)
