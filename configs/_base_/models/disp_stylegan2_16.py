"""DISP on a StyleGAN2 of 16 px for a CPU. Nothing here is the paper's."""

_base_ = './disp_stylegan2_256.py'

model = dict(
    image_size=16,
    generator=dict(style_channels=64, num_mlps=4, channel_max=64),
    discriminator=dict(discriminator=dict(channel_max=64)),
    # gamma 1, at every 16th step
    loss_config=dict(r1_loss_weight=1 / 2 * 16),
    ema_config=dict(momentum=0.01))
