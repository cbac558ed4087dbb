"""DISP-StyleGAN2 on Panda-100 at 256 px, fine-tuned from FFHQ."""

_base_ = [
    '_base_/models/disp_stylegan2_256.py',
    '_base_/datasets/panda.py',
    '_base_/priors/vgg16_fc7.py',
    '_base_/schedules/stylegan2_few_shot.py',
]

bank_file = 'data/priors/panda_vgg16_fc7.safetensors'

# Starting from FFHQ is the paper's. The file is in mmagic's model zoo, at
# https://github.com/open-mmlab/mmagic/tree/main/configs/styleganv2, of the config
# stylegan2_c2_8xb4-800kiters_ffhq-256x256. Files of NVIDIA's and of rosinality's code load as well.
pretrained = 'checkpoints/stylegan2_c2_ffhq_256_b4x8_20210407_160709-7890ae1f.pth'

model = dict(prior_dim=_base_.prior_dim, pretrained=dict(checkpoint=pretrained))

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
