"""DISP-BigGAN on CUB6k at 128 px, fine-tuned from ImageNet."""

_base_ = [
    '_base_/models/disp_biggan_128.py',
    '_base_/datasets/cub6k.py',
    '_base_/priors/vgg16_fc7.py',
    '_base_/schedules/biggan_transfer.py',
]

bank_file = 'data/priors/cub6k_vgg16_fc7.safetensors'

# Starting from ImageNet is the paper's, from the weights of BigGAN-PyTorch; these are mmagic's own
# training of it. A name of mmagic's zoo: the file is downloaded to checkpoints/ where it is not there.
pretrained = 'biggan_ajbrock-sn_8xb32-1500kiters_imagenet1k-128x128'

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
