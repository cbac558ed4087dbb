"""DISP-SNGAN on Faces-100, fine-tuned from ImageNet with FreezeD."""

_base_ = 'disp_sngan_faces100_transfer.py'

# five of six blocks, as in the paper
model = dict(discriminator=dict(freeze=dict(type='FreezeD', blocks=5)))
