"""DISP on a BigGAN of 16 px that trains on a CPU in minutes.

mmagic knows BigGAN from 32 px on, so the blocks are spelled out. Nothing here is the paper's.
"""

_base_ = './disp_biggan_32.py'

model = dict(
    image_size=16,
    score_jointly=True,
    generator=dict(
        noise_size=48,
        shared_dim=64,
        arch_cfg=dict(
            in_channels=[64, 64],
            out_channels=[64, 32],
            upsample=[True, True],
            resolution=[8, 16],
            attention=[False, False])),
    discriminator=dict(
        discriminator=dict(
            arch_cfg=dict(
                in_channels=[3, 32, 64],
                out_channels=[32, 64, 64],
                downsample=[True, True, False],
                resolution=[8, 4, 4],
                attention=[False, False, False]))),
    discriminator_steps=2,
    ema_config=dict(momentum=0.01, start_iter=100))
