"""DISP-StyleGAN2 on any folder of images.

    python tools/train.py configs/disp_stylegan2_folder.py --cfg-options data_root=FOLDER

Image size, batch size and number of iterations are chosen from the images found there, unless they
are given as options, and the choice is printed. What stands here holds where nothing is chosen.
"""

_base_ = [
    '_base_/models/disp_stylegan2_256.py',
    '_base_/datasets/images_256.py',
    '_base_/priors/vgg16_fc7.py',
    '_base_/schedules/stylegan2_few_shot.py',
]

sized_by_data = True
data_root = 'data/images'
bank_file = 'data/priors/images.safetensors'
image_size = 64
batch_size = 32
max_iters = 100000

# Nothing here is the paper's but the networks and the encoder.
model = dict(
    prior_dim=_base_.prior_dim,
    # raw features are nearly parallel: uncentered, conditions barely differ
    prior_norm='centered_l2',
    # more than some hundred images: num_neighbors=5 mixes only with similar ones
    sampler=dict(max_priors=10000, num_neighbors=None),
    generator=dict(out_size=image_size),
    discriminator=dict(discriminator=dict(in_size=image_size)),
    ema_config=dict(momentum=0.001, start_iter=200))

load_pipeline = [
    dict(type='LoadTrainingImage'),
    dict(type='CenterCropLongEdge', keys='gt'),
    dict(
        type='Resize',
        keys='gt',
        scale=(image_size, image_size),
        interpolation='bicubic',
        backend='pillow'),
    # take it out where left and right mean something, as in text
    dict(type='Flip', keys='gt', flip_ratio=0.5, direction='horizontal'),
]

train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        dataset=dict(
            data_root=data_root,
            pipeline=[
                *load_pipeline,
                dict(type='LoadPrior', bank_file=bank_file),
                dict(type='PackInputs', data_keys=['gt_prior']),
            ])))

train_cfg = dict(max_iters=max_iters)

default_hooks = dict(checkpoint=dict(interval=1000, max_keep_ckpts=3))

custom_hooks = [
    dict(type='PriorSamplerHook', bank_file=bank_file, encoder=_base_.encoder),
    *_base_.custom_hooks,
]
