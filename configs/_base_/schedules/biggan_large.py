"""BigGAN from scratch on 50,000 images to millions: 100,000 steps of the generator."""

_base_ = './sngan_biggan.py'

# batches for the discriminator: 100,000 steps of the generator (not stated in the paper) x 4
train_cfg = dict(max_iters=100000 * 4)

default_hooks = dict(checkpoint=dict(max_keep_ckpts=5))

# Seconds: the other processes wait while one fits the mixture, for longer than NCCL would.
env_cfg = dict(dist_cfg=dict(timeout=6 * 3600))
