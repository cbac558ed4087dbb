"""DISP-StyleGAN2 on all of CIFAR-100's training split."""

_base_ = [
    '_base_/models/disp_stylegan2_32.py',
    '_base_/datasets/cifar100.py',
    '_base_/priors/vgg16_fc7.py',
    '_base_/schedules/stylegan2_cifar.py',
]

bank_file = 'data/priors/cifar100_vgg16_fc7.safetensors'

# 10,000 of the priors keep checkpoints small (not stated in the paper).
model = dict(prior_dim=_base_.prior_dim, sampler=dict(max_priors=10000))

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
