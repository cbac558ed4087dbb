"""Minutes on two CPU cores, for the digits. Nothing here is the paper's."""

_base_ = '../evaluation_digits.py'

# batches for the discriminator: 400 steps of the generator x 2
train_cfg = dict(
    _delete_=True, type='ResumableTrainLoop', max_iters=400 * 2, val_begin=200, val_interval=200)

optim_wrapper = dict(
    generator=dict(
        type='PrecisionOptimWrapper',
        optimizer=dict(type='Adam', lr=0.001, betas=(0.0, 0.99), fused=True)),
    discriminator=dict(
        type='PrecisionOptimWrapper',
        optimizer=dict(type='Adam', lr=0.001, betas=(0.0, 0.99), fused=True)))

default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(
        interval=400, max_keep_ckpts=2, save_best='kid1000_val_pixels', rule='less'),
    visualization=dict(interval=400))
