"""DISP on BigGAN at 32 px, with the networks of mmagic's CIFAR-10 config.

The numbers are those of mmagic::biggan/biggan_2xb25-500kiters_cifar10-32x32.py, except for the
hierarchical latent, which the paper uses at this size, too.
"""

_base_ = './disp_biggan_128.py'

model = dict(
    image_size=32,
    # ch 64 and noise of 128 numbers: not stated in the paper
    generator=dict(
        noise_size=128,
        base_channels=64,
        init_cfg=dict(type='N02'),
        sn_style='torch',
        sn_eps=1e-8),
    discriminator=dict(
        discriminator=dict(
            base_channels=64, init_cfg=dict(type='N02'), sn_style='torch', sn_eps=1e-8),
        sn_style='torch',
        sn_eps=1e-8),
    discriminator_steps=4,  # not stated in the paper
    # .9999 from step 1000: not stated in the paper
    ema_config=dict(momentum=0.0001, start_iter=1000))
