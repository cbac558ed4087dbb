"""Self-modulated BigGAN on CUB6k at 128 px, fine-tuned from ImageNet with FreezeD.

The baseline of disp_biggan_cub6k_freezed.py.
"""

_base_ = 'biggan_cub6k_selfmod.py'

# how many blocks: not stated in the paper
model = dict(discriminator=dict(freeze=dict(type='FreezeD', blocks=4)))

# as many as for DiffAugment, which is the paper's; how many: not stated in the paper
max_iters = 30000

train_cfg = dict(max_iters=max_iters)
