"""DISP-StyleGAN2 on 20 % of CIFAR-10's training split."""

_base_ = 'disp_stylegan2_cifar10.py'

bank_file = 'data/priors/cifar10_20p_vgg16_fc7.safetensors'

train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            ann_file='train_20p.txt',
            pipeline=[
                *_base_.load_pipeline,
                dict(type='LoadPrior', bank_file=bank_file),
                dict(type='PackInputs', data_keys=['gt_prior']),
            ])))

custom_hooks = [
    dict(type='PriorSamplerHook', bank_file=bank_file, encoder=_base_.encoder),
    *_base_.custom_hooks[1:],
]
