"""DISP-SNGAN with SimCLR's priors on Faces-100, fine-tuned from ImageNet with FreezeD."""

_base_ = 'disp_sngan_faces100_freezed.py'

# the encoder of _base_/priors/simclr_resnet50.py
encoder = dict(
    type='CheckpointEncoder',
    checkpoint='checkpoints/simclr_resnet50_16xb256-coslr-800e_in1k_20220825-85fcc4de.pth',
    arch='torchvision/resnet50')
prior_dim = 2048
bank_file = 'data/priors/faces100_simclr_resnet50.safetensors'

model = dict(prior_dim=prior_dim)

train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            pipeline=[
                *_base_.load_pipeline,
                dict(type='LoadPrior', bank_file=bank_file),
                dict(type='PackInputs', data_keys=['gt_prior']),
            ])))

custom_hooks = [
    dict(type='PriorSamplerHook', bank_file=bank_file, encoder=dict(encoder)),
    *_base_.custom_hooks[1:],
]

# in the place of the base's encoder, of which nothing is kept
encoder['_delete_'] = True
