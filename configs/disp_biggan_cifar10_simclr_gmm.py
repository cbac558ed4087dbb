"""DISP-BigGAN on CIFAR-10's training split, with SimCLR's priors and a mixture of Gaussians."""

_base_ = [
    '_base_/models/disp_biggan_32_gmm.py',
    '_base_/datasets/cifar10.py',
    '_base_/priors/simclr_resnet50.py',
    '_base_/schedules/biggan_large.py',
]

bank_file = 'data/priors/cifar10_simclr_resnet50.safetensors'

# the mixture is fitted to all 50,000 priors
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
