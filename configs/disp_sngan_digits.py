"""DISP-SNGAN on 100 digits of the classes 5 to 9: minutes on a CPU."""

_base_ = [
    '_base_/models/disp_sngan_16.py',
    '_base_/datasets/digits.py',
    '_base_/priors/digits_simclr.py',
    '_base_/schedules/digits.py',
]

bank_file = 'data/priors/digits_simclr.safetensors'

# Raw features are nearly parallel; centring them helps most here. The paper's own runs use none.
model = dict(prior_dim=_base_.prior_dim, prior_norm='centred_l2')

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
    dict(type='PriorSamplerHook', bank_file=bank_file, encoder=_base_.encoder),
    *_base_.custom_hooks,
]
