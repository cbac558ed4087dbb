"""Half an hour on two CPU cores, for the digits. Nothing here is the paper's."""

_base_ = '../evaluation_digits.py'

batch_size = 32
max_iters = 1600

train_cfg = dict(
    _delete_=True, type='ResumableTrainLoop', max_iters=max_iters, val_begin=400, val_interval=400)

# mmagic's for StyleGAN2: lazy regularization takes its share off rate and betas
optim_wrapper = dict(
    generator=dict(
        optimizer=dict(type='Adam', lr=0.002 * 4 / 5, betas=(0.0, 0.99**(4 / 5)))),
    discriminator=dict(
        optimizer=dict(type='Adam', lr=0.002 * 16 / 17, betas=(0.0, 0.99**(16 / 17)))))

default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(
        interval=400, max_keep_ckpts=10, save_best='kid1000_val_pixels', rule='less'))

custom_hooks = [
    *_base_.custom_hooks[:-1],
    dict(_base_.custom_hooks[-1], interval=400),
]
