"""SNGAN with an embedding for each image on Faces-100, fine-tuned from ImageNet with FreezeD.

The baseline of disp_sngan_faces100_freezed.py.
"""

_base_ = 'sngan_faces100_transfer.py'

# five of six blocks, as in the paper
model = dict(discriminator=dict(freeze=dict(type='FreezeD', blocks=5)))
