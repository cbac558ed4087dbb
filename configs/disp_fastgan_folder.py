"""DISP on FastGAN's generator, for any folder of images; used as disp_biggan_folder.py is.

    python tools/train.py configs/disp_fastgan_folder.py --cfg-options data_root=FOLDER image_size=256

image_size may be 32, 64, 128, 256, 512 or 1024; without --auto, the schedule is FastGAN's.
"""

_base_ = [
    '_base_/models/disp_fastgan_256.py',
    '_base_/datasets/folder.py',
    '_base_/priors/default.py',
    '_base_/schedules/sngan_biggan.py',
]

# Nothing here is the paper's, but Vgg16 where it is the encoder.
model = dict(
    image_size=256,
    prior_dim=1280 if _base_.encoder.type == 'PackagedEncoder' else 4096,
    # raw features are nearly parallel: uncentered, conditions barely differ
    prior_norm='centered_l2',
    # for more than some hundred images, num_neighbors=5 mixes only similar ones
    sampler=dict(max_priors=10000, num_neighbors=None))

train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        image_size=256,
        bank_file='lite0.safetensors' if _base_.encoder.type == 'PackagedEncoder' else 'vgg16_fc7.safetensors'))

train_cfg = dict(max_iters=50000)

# bfloat16 or float16 where the machine is good at it
encoder = dict(precision='auto')

optim_wrapper = dict(
    generator=dict(type='PrecisionOptimWrapper', optimizer=dict(betas=(0.5, 0.999))),
    discriminator=dict(type='PrecisionOptimWrapper', optimizer=dict(betas=(0.5, 0.999))))

default_hooks = dict(checkpoint=dict(interval=1000, max_keep_ckpts=3))
