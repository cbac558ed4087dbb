"""DISP-SNGAN on Anime-100, fine-tuned from ImageNet with FreezeD."""

_base_ = 'disp_sngan_anime100_transfer.py'

# five of six blocks, as in the paper
model = dict(discriminator=dict(freeze=dict(type='FreezeD', blocks=5)))
