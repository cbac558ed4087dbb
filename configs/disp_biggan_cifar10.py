"""DISP-BigGAN on CIFAR-10's training split; ann_file=train_20p.txt or train_10p.txt takes less.

The paper's table for limited data, with the network of its table for large data, which it says is the
same (disp_biggan_cifar10_gmm.py). Two priors are mixed, as the paper does in limited data.
"""

_base_ = [
    '_base_/models/disp_biggan_32.py',
    '_base_/datasets/paper.py',
    '_base_/priors/vgg16_fc7.py',
    '_base_/schedules/sngan_biggan.py',
]

# 10,000 of the priors keep checkpoints small (not stated in the paper)
model = dict(prior_dim=4096, sampler=dict(max_priors=10000))

train_dataloader = dict(
    batch_size=50,  # not stated in the paper
    dataset=dict(data_root='data/cifar10', image_size=32))

# batches for the discriminator: 100,000 steps of the generator (not stated in the paper) x 4,
# whatever the fraction of the data
train_cfg = dict(max_iters=100000 * 4)

default_hooks = dict(checkpoint=dict(max_keep_ckpts=5))
