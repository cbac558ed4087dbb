"""Adam for StyleGAN2, with mmagic's numbers. A config adds max_iters."""

_base_ = '../disp_runtime.py'

train_cfg = dict(_delete_=True, type='ResumableTrainLoop', max_iters=None)

# Lazy regularization takes its fraction off the rate and the betas.
optim_wrapper = dict(
    generator=dict(
        optimizer=dict(type='Adam', lr=0.002 * 4 / 5, betas=(0.0, 0.99**(4 / 5)), fused=True)),
    discriminator=dict(
        optimizer=dict(type='Adam', lr=0.002 * 16 / 17, betas=(0.0, 0.99**(16 / 17)), fused=True)))

# about 500 MB each
default_hooks = dict(checkpoint=dict(interval=1000, max_keep_ckpts=5))
