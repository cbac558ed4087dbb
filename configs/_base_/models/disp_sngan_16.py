"""DISP on an SNGAN of 16 px that trains on a CPU in minutes.

mmagic knows SNGAN from 32 px on, so the blocks are spelled out. Nothing here is the paper's.
"""

_base_ = './disp_sngan_128.py'

model = dict(
    image_size=16,
    score_jointly=True,
    generator=dict(base_channels=32, noise_size=48, prior_emb_dim=64, channels_cfg=[2, 2]),
    discriminator=dict(
        discriminator=dict(
            base_channels=32, channels_cfg=[2, 2], downsample_cfg=[True, False])),
    discriminator_steps=2,
    ema_config=dict(momentum=0.01, start_iter=100))
