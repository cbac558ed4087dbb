"""DISP-StyleGAN2 on CIFAR-100's training split; ann_file=train_20p.txt or train_10p.txt takes less."""

_base_ = 'disp_stylegan2_cifar10.py'

train_dataloader = dict(dataset=dict(data_root='data/cifar100'))
