"""Adam for SNGAN and BigGAN. A config adds max_iters, which counts batches of the discriminator."""

_base_ = '../disp_runtime.py'

train_cfg = dict(_delete_=True, type='ResumableTrainLoop', max_iters=None)

# The rate and the betas are not stated in the paper.
optim_wrapper = dict(
    generator=dict(optimizer=dict(type='Adam', lr=0.0002, betas=(0.0, 0.999), fused=True)),
    discriminator=dict(optimizer=dict(type='Adam', lr=0.0002, betas=(0.0, 0.999), fused=True)))
