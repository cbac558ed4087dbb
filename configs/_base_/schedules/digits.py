"""Minutes on two CPU cores, for the digits. Nothing here is the paper's."""

_base_ = '../disp_runtime.py'

batch_size = 32
max_iters = 4000

train_cfg = dict(_delete_=True, type='ResumableTrainLoop', max_iters=max_iters)

optim_wrapper = dict(
    generator=dict(optimizer=dict(type='Adam', lr=0.0005, betas=(0.0, 0.99))),
    discriminator=dict(optimizer=dict(type='Adam', lr=0.0005, betas=(0.0, 0.99))))

default_hooks = dict(checkpoint=dict(interval=1000, max_keep_ckpts=2))
