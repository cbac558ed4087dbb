"""DISP-BigGAN on the bedrooms of LSUN at 128 px, with Vgg16's priors and a mixture of Gaussians.

Table 5 of the paper fits 50,000, 100,000, 200,000 and 500,000 priors, the number that is
model.sampler.fit_subset here. Training does not depend on it: each can be fitted to one trained
model.
"""

_base_ = [
    '_base_/models/disp_biggan_128_gmm.py',
    '_base_/datasets/lsun_bedroom.py',
    '_base_/priors/vgg16_fc7.py',
    '_base_/schedules/biggan_large.py',
]

bank_file = 'data/priors/lsun_bedroom_vgg16_fc7.safetensors'

# the mixture is fitted to 200,000 random ones of 3 million priors, as in the paper
model = dict(prior_dim=_base_.prior_dim)

train_dataloader = dict(
    batch_size=_base_.batch_size,
    dataset=dict(
        dataset=dict(
            pipeline=[
                *_base_.load_pipeline,
                dict(type='LoadPrior', bank_file=bank_file),
                dict(type='PackInputs', data_keys=['gt_prior']),
            ])))

custom_hooks = [
    dict(type='GMMSamplerHook', bank_file=bank_file, encoder=_base_.encoder),
    *_base_.custom_hooks,
]
