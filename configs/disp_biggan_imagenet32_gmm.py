"""DISP-BigGAN on ImageNet at 32 px with a mixture of Gaussians: the paper's table for large data."""

_base_ = ['_base_/models/disp_biggan_32.py', '_base_/biggan_large_data.py']

model = dict(
    prior_dim=4096,
    sampler=_base_.gmm.model.sampler,
    # not stated in the paper, which has one number for all of its large sets; CIFAR's is mmagic's 128
    generator=dict(noise_size=120))

train_dataloader = dict(dataset=dict(data_root='data/imagenet32', image_size=32))

# Another number of steps than on the other sets is the paper's; whether it is larger is not stated.
# Batches for the discriminator: 200,000 steps of the generator (not stated in the paper) x 4.
train_cfg = dict(max_iters=200000 * 4)
