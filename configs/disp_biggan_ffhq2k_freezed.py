"""DISP-BigGAN on FFHQ2k at 128 px, fine-tuned from ImageNet with FreezeD."""

_base_ = 'disp_biggan_ffhq2k.py'

# how many blocks: not stated in the paper
model = dict(discriminator=dict(freeze=dict(type='FreezeD', blocks=4)))

# as many as for DiffAugment, which is the paper's; how many: not stated in the paper
max_iters = 30000

train_cfg = dict(max_iters=max_iters)
