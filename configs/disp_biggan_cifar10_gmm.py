"""DISP-BigGAN on CIFAR-10 with a mixture of Gaussians: the paper's table for large data."""

_base_ = ['_base_/models/disp_biggan_32.py', '_base_/biggan_large_data.py']

model = dict(
    prior_dim=4096,
    sampler=_base_.gmm.model.sampler,
    # not stated in the paper; disp_biggan_32.py has mmagic's 128
    generator=dict(noise_size=120))

train_dataloader = dict(dataset=dict(data_root='data/cifar10', image_size=32))
