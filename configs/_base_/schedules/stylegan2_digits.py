"""Half an hour on two CPU cores, for the digits. Nothing here is the paper's."""

_base_ = './digits.py'

train_cfg = dict(max_iters=1600, val_begin=400, val_interval=400)

# mmagic's for StyleGAN2: lazy regularization takes its fraction off the rate and the betas
optim_wrapper = dict(
    generator=dict(optimizer=dict(lr=0.002 * 4 / 5, betas=(0.0, 0.99**(4 / 5)))),
    discriminator=dict(optimizer=dict(lr=0.002 * 16 / 17, betas=(0.0, 0.99**(16 / 17)))))

default_hooks = dict(checkpoint=dict(max_keep_ckpts=10))
