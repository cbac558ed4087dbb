"""All of BigGAN on large sets but the networks: a mixture of Gaussians, from scratch.

A config adds the data set's data_root and image_size.
"""

_base_ = [
    './datasets/paper.py',
    './priors/vgg16_fc7.py',
    './schedules/sngan_biggan.py',
    './techniques/gmm.py',
]

# not stated in the paper, which has one number for all of its large sets; CIFAR's is 50
train_dataloader = dict(batch_size=64)

# batches for the discriminator: 100,000 steps of the generator (not stated in the paper) x 4
train_cfg = dict(max_iters=100000 * 4)

default_hooks = dict(checkpoint=dict(max_keep_ckpts=5))

# Seconds: the other processes wait while one fits the mixture, for longer than NCCL would.
env_cfg = dict(dist_cfg=dict(timeout=6 * 3600))
