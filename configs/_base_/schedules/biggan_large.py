"""BigGAN from scratch on 50,000 images to millions: 100,000 steps of the generator."""

_base_ = '../disp_runtime.py'

batch_size = 64  # not stated in the paper
# batches for the discriminator: 100,000 steps of the generator (not stated in the paper) x 4
max_iters = 100000 * 4

train_cfg = dict(_delete_=True, type='ResumableTrainLoop', max_iters=max_iters)

# the rate is not stated in the paper, nor are the betas
optim_wrapper = dict(
    generator=dict(optimizer=dict(type='Adam', lr=0.0002, betas=(0.0, 0.999))),
    discriminator=dict(optimizer=dict(type='Adam', lr=0.0002, betas=(0.0, 0.999))))

default_hooks = dict(checkpoint=dict(max_keep_ckpts=5))

# seconds: the other processes wait while one fits the mixture, for longer than NCCL would
env_cfg = dict(dist_cfg=dict(timeout=6 * 3600))
