"""One tiny GAN of each kind, with an EMA generator and a fitted sampler."""

import pytest
import torch

from disp_plugin.priors import PriorBank
from tests.gans import PRIOR_DIM, TYPE, make_gan


def make_bank(num=10):
    priors = torch.randn(num, 1, PRIOR_DIM, generator=torch.Generator().manual_seed(0))
    return PriorBank([f'{row:02d}.png' for row in range(num)], priors)


@pytest.fixture(scope='session')
def build_gan():
    """A function (kind, **changes) -> a tiny GAN in evaluation mode, its sampler fitted."""

    def build(kind, **changes):
        ema = dict(type='ExponentialMovingAverage', momentum=0.1)
        options = dict(ema_config=ema, sampler=dict(type='VicinalMixSampler'))
        with torch.random.fork_rng():
            gan = make_gan(kind, **{**options, **changes})
        if gan.sampler is not None:
            gan.sampler.fit(make_bank())
        return gan.eval()

    return build


@pytest.fixture(params=sorted(TYPE))
def tiny_gan(request, build_gan):
    """A tiny BigGAN, SNGAN and StyleGAN2, one after the other."""
    return build_gan(request.param)
