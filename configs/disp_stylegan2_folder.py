"""DISP-StyleGAN2 on any folder of images.

    python tools/train.py configs/disp_stylegan2_folder.py --auto --cfg-options data_root=FOLDER

--auto chooses image size, batch size and number of iterations for the images found, and prints the
choice. Without it, what stands here holds.
"""

_base_ = [
    '_base_/models/disp_stylegan2_256.py',
    '_base_/datasets/images.py',
    '_base_/priors/vgg16_fc7.py',
    '_base_/schedules/stylegan2.py',
]

# Nothing here is the paper's but the networks and the encoder.
model = dict(
    image_size=64,
    prior_dim=4096,
    # raw features are nearly parallel: uncentered, conditions barely differ
    prior_norm='centered_l2',
    # for more than some hundred images, num_neighbors=5 mixes only similar ones
    sampler=dict(max_priors=10000, num_neighbors=None),
    ema_config=dict(momentum=0.001, start_iter=200))

train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        data_root='data/images',
        image_size=64,
        flip=True,  # False where left and right mean something, as in text
        bank_file='vgg16_fc7.safetensors'))

train_cfg = dict(max_iters=100000)

default_hooks = dict(checkpoint=dict(interval=1000, max_keep_ckpts=3))
