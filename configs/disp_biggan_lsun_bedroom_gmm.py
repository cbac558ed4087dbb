"""DISP-BigGAN on LSUN bedrooms at 128 px with a mixture of Gaussians: the paper's for large data."""

_base_ = ['_base_/models/disp_biggan_128.py', '_base_/biggan_large_data.py']

model = dict(
    prior_dim=4096,
    sampler=_base_.gmm.model.sampler,
    discriminator_steps=4,  # not stated in the paper
    # .9999 from step 1000: not stated in the paper
    ema_config=dict(momentum=0.0001, start_iter=1000))

train_dataloader = dict(dataset=dict(data_root='data/lsun_bedroom', image_size=128))
