"""DISP-StyleGAN2 on CIFAR-10's training split; ann_file=train_20p.txt or train_10p.txt takes less."""

_base_ = [
    '_base_/models/disp_stylegan2_32.py',
    '_base_/datasets/paper.py',
    '_base_/priors/vgg16_fc7.py',
    '_base_/schedules/stylegan2.py',
]

# 10,000 of the priors keep checkpoints small (not stated in the paper)
model = dict(prior_dim=4096, sampler=dict(max_priors=10000))

# 25 million images shown in batches of 32, as in DiffAugment's code
train_dataloader = dict(
    batch_size=32,
    dataset=dict(data_root='data/cifar10', image_size=32))

train_cfg = dict(max_iters=781250)

# as in DiffAugment's code: R1 at every step takes nothing off the rate and the betas
optim_wrapper = dict(
    generator=dict(optimizer=dict(lr=0.002, betas=(0.0, 0.99))),
    discriminator=dict(optimizer=dict(lr=0.002, betas=(0.0, 0.99))))

default_hooks = dict(checkpoint=dict(interval=10000))
