"""DISP-BigGAN on CIFAR-100 with a mixture of Gaussians: the paper's table for large data."""

_base_ = 'disp_biggan_cifar10_gmm.py'

train_dataloader = dict(dataset=dict(data_root='data/cifar100'))
