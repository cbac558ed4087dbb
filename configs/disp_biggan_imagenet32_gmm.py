"""DISP-BigGAN on ImageNet at 32 px with a mixture of Gaussians: the paper's table for large data."""

_base_ = 'disp_biggan_cifar10_gmm.py'

train_dataloader = dict(dataset=dict(data_root='data/imagenet32'))

# Longer than on the other sets, as in the paper. Batches for the discriminator: 200,000 steps of the
# generator (not stated in the paper) x 4.
train_cfg = dict(max_iters=200000 * 4)
