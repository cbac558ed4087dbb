"""DISP-BigGAN on CIFAR-10 with a mixture of Gaussians: the paper's table for large data.

Networks and training are those of disp_biggan_cifar10.py: the paper says that both tables have one.
"""

_base_ = ['disp_biggan_cifar10.py', '_base_/techniques/gmm.py']

model = dict(sampler=_base_.gmm.model.sampler)

# Seconds: the other processes wait while one fits the mixture, for longer than NCCL would.
env_cfg = dict(dist_cfg=dict(timeout=6 * 3600))
