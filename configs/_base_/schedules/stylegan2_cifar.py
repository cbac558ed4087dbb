"""StyleGAN2 on CIFAR: 25 million images shown, as in DiffAugment's code."""

_base_ = './stylegan2_few_shot.py'

batch_size = 32
max_iters = 781250

train_cfg = dict(max_iters=max_iters)

default_hooks = dict(checkpoint=dict(interval=10000))
