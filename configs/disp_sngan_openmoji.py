"""DISP-SNGAN on 100 people in color, 32 or 64 px, on a CPU.

    pip install "disp_plugin[encoder,openmoji]"
    python tools/dataset_converters/openmoji.py
    python tools/train.py configs/disp_sngan_openmoji.py

At 64 px: --size 64 --out data/openmoji64 for the first, and for the second --cfg-options
data_root=data/openmoji64 image_size=64. Nothing here is the paper's.
"""

_base_ = [
    '_base_/models/disp_sngan_128.py',
    '_base_/datasets/openmoji.py',
    '_base_/priors/packaged.py',
    '_base_/schedules/digits.py',
]

model = dict(
    image_size=32,
    score_jointly=True,
    prior_dim=1280,
    # raw features are nearly parallel; as long as the digits' priors, 128 ** 0.5
    prior_norm='centered_l2',
    prior_length=11.3,
    # by image_size, in units of base_channels
    generator=dict(base_channels=32, channels_cfg={32: [2, 2, 2], 64: [4, 2, 1, 1]}),
    discriminator=dict(discriminator=dict(
        base_channels=32,
        channels_cfg={32: [2, 2, 2], 64: [1, 2, 4, 4]},
        downsample_cfg={32: [True, False, False], 64: [True, True, True, False]})),
    discriminator_steps=2,
    ema_config=dict(momentum=0.01, start_iter=100))

# batches for the discriminator: 1,000 steps of the generator x 2
train_cfg = dict(max_iters=1000 * 2, val_begin=500, val_interval=500)

default_hooks = dict(checkpoint=dict(interval=1000), visualization=dict(interval=500))

# People differ by color as much as by shape. The encoder's own space is slow, and for the record.
val_evaluator = dict(spaces=dict(_delete_=True, pixels=dict(type='PixelEncoder', size=8, color=True)))
test_evaluator = dict(spaces=dict(pixels=dict(color=True)), split='test')
