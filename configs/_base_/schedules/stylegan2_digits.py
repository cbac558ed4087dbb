"""Minutes on two CPU cores, for the digits. Nothing here is the paper's."""

_base_ = './stylegan2_few_shot.py'

batch_size = 32
max_iters = 1600

train_cfg = dict(max_iters=max_iters)

default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval=400, max_keep_ckpts=10))

custom_hooks = [
    *_base_.custom_hooks[:-1],
    dict(_base_.custom_hooks[-1], interval=400),
]
