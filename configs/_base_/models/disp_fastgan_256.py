"""DISP on FastGAN's generator at 256 px, with SNGAN's discriminator. Nothing here is the paper's.

image_size may be 32, 64, 128, 256, 512 or 1024. The generator's numbers are those of FastGAN's code,
https://github.com/odegeasslbc/FastGAN-pytorch; the discriminator's are SNGAN's at 64 and 128 px, and
BigGAN's above (https://github.com/ajbrock/BigGAN-PyTorch, D_arch). At 512 px and above
model.discriminator.discriminator.base_channels=16 saves memory.
"""

_base_ = './disp_sngan_128.py'

model = dict(
    type='DISPFastGAN',
    image_size=256,
    generator=dict(_delete_=True, type='DISPFastGANGenerator', noise_size=256, base_channels=64),
    discriminator=dict(
        # the augmentations of FastGAN's code
        augmentation=dict(type='DiffAugment', policy='color,translation'),
        discriminator=dict(
            channels_cfg={
                32: [2, 4, 8],
                64: [2, 4, 8, 16],
                128: [2, 4, 8, 16, 16],
                256: [2, 4, 8, 8, 16, 16],
                512: [1, 2, 4, 8, 8, 16, 16],
                1024: [1, 1, 2, 4, 8, 8, 16, 16],
            },
            downsample_cfg={
                32: [True] * 2 + [False],
                64: [True] * 4,
                128: [True] * 4 + [False],
                256: [True] * 5 + [False],
                512: [True] * 6 + [False],
                1024: [True] * 7 + [False],
            })),
    discriminator_steps=1,
    ema_config=dict(momentum=0.001, start_iter=0))
