"""DISP-StyleGAN2 on Obama-100 at 256 px, fine-tuned from FFHQ."""

_base_ = [
    '_base_/models/disp_stylegan2_256_ffhq.py',
    '_base_/datasets/obama.py',
    '_base_/priors/vgg16_fc7.py',
    '_base_/schedules/stylegan2_few_shot.py',
]

bank_file = 'data/priors/obama_vgg16_fc7.safetensors'

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
    dict(type='PriorSamplerHook', bank_file=bank_file, encoder=_base_.encoder),
    *_base_.custom_hooks,
]
