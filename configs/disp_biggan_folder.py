"""DISP-BigGAN on any folder of images.

    python tools/train.py configs/disp_biggan_folder.py --auto --cfg-options data_root=FOLDER

--auto chooses image size, batch size and number of iterations for the images found, and prints the
choice. Without it, what stands here holds.
"""

_base_ = [
    '_base_/models/disp_biggan_32.py',
    '_base_/datasets/folder.py',
    '_base_/priors/default.py',
    '_base_/schedules/sngan_biggan.py',
]

# Nothing here is the paper's but the networks, and Vgg16 where it is the encoder.
model = dict(
    image_size=64,
    score_jointly=True,
    prior_dim=1280 if _base_.encoder.type == 'PackagedEncoder' else 4096,
    # raw features are nearly parallel: uncentered, conditions barely differ
    prior_norm='centered_l2',
    # for more than some hundred images, num_neighbors=5 mixes only similar ones
    sampler=dict(max_priors=10000, num_neighbors=None),
    ema_config=dict(momentum=0.001, start_iter=200))

train_cfg = dict(max_iters=100000)

train_dataloader = dict(dataset=dict(
    bank_file='lite0.safetensors' if _base_.encoder.type == 'PackagedEncoder' else 'vgg16_fc7.safetensors'))

# bfloat16 or float16 where the machine is good at it
encoder = dict(precision='auto')

optim_wrapper = dict(
    generator=dict(type='PrecisionOptimWrapper'),
    discriminator=dict(type='PrecisionOptimWrapper'))

default_hooks = dict(checkpoint=dict(interval=1000, max_keep_ckpts=3))
