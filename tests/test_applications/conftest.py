"""One tiny GAN of each kind."""

import pytest
import torch
from mmagic.registry import MODELS

import disp_plugin.register  # noqa: F401  registers what the configs name
from disp_plugin.priors import PriorBank

D, E, Z = 6, 8, 16
COMMON = dict(
    prior_dim=D,
    data_preprocessor=dict(type='DataPreprocessor'),
    ema_config=dict(type='ExponentialMovingAverage', momentum=0.1),
    sampler=dict(type='VicinalMixSampler'),
)
BIGGAN_D = dict(type='BigGANDiscriminator', input_scale=32, base_channels=4)
SNGAN_D = dict(type='ProjDiscriminator', input_scale=32, base_channels=4)
STYLEGAN2_D = dict(type='SizedStyleGAN2Discriminator', in_size=16, channel_max=E)
CONFIGS = {
    'biggan': dict(
        type='DISPBigGAN',
        generator=dict(
            type='DISPBigGANGenerator',
            output_scale=32,
            base_channels=4,
            noise_size=Z,
            shared_dim=E,
        ),
        discriminator=dict(type='PriorProjectionDiscriminator', discriminator=BIGGAN_D),
    ),
    'sngan': dict(
        type='DISPSNGAN',
        generator=dict(
            type='DISPSNGANGenerator',
            output_scale=32,
            base_channels=8,
            noise_size=Z,
            prior_emb_dim=E,
        ),
        discriminator=dict(type='PriorProjectionDiscriminator', discriminator=SNGAN_D),
    ),
    'stylegan2': dict(
        type='DISPStyleGAN2',
        generator=dict(
            type='DISPStyleGAN2Generator',
            out_size=16,
            channel_max=E,
            style_channels=E,
            num_mlps=2,
        ),
        discriminator=dict(
            type='PriorProjectionDiscriminator', discriminator=STYLEGAN2_D, equalized_lr=True
        ),
    ),
}


def make_bank(num=10):
    priors = torch.randn(num, 1, D, generator=torch.Generator().manual_seed(0))
    return PriorBank([f'{row:02d}.png' for row in range(num)], priors)


@pytest.fixture(scope='session')
def build_gan():
    """A function (kind, **changes) -> a tiny GAN in evaluation mode, its sampler fitted."""

    def build(kind, **changes):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            gan = MODELS.build({**CONFIGS[kind], **COMMON, **changes})
        if gan.sampler is not None:
            gan.sampler.fit(make_bank())
        return gan.eval()

    return build


@pytest.fixture(params=sorted(CONFIGS))
def tiny_gan(request, build_gan):
    """A tiny BigGAN, SNGAN and StyleGAN2, one after the other."""
    return build_gan(request.param)
