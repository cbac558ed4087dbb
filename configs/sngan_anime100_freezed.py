"""SNGAN with an embedding for each image on Anime-100, fine-tuned from ImageNet with FreezeD.

The baseline of disp_sngan_anime100_freezed.py.
"""

_base_ = 'sngan_anime100_transfer.py'

# five of six blocks, as in the paper
model = dict(discriminator=dict(freeze=dict(type='FreezeD', blocks=5)))
