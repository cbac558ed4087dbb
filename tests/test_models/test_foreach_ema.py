"""The moving average is mmagic's, bit for bit, and goes on after a checkpoint."""

import copy

import pytest
import torch
from mmagic.models.base_models import ExponentialMovingAverage
from torch import nn

from disp_plugin.models.foreach_ema import ForeachEMA
from tests.gans import make_gan


@pytest.mark.parametrize('options', [{}, dict(interval=2), dict(update_buffers=True)])
def test_it_is_mmagics_average_also_after_a_checkpoint(options):
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    averages = [
        kind(model, momentum=0.3, **options) for kind in (ExponentialMovingAverage, ForeachEMA)
    ]
    for step in range(5):
        if step == 3:
            fresh = ForeachEMA(model, momentum=0.3, **options)
            fresh.load_state_dict(copy.deepcopy(averages[1].state_dict()))
            averages[1] = fresh
        for parameter in model.parameters():
            parameter.data += torch.randn_like(parameter)
        model(torch.randn(4, 3))
        for average in averages:
            average.update_parameters(model)
        expected, actual = (average.state_dict() for average in averages)
        assert actual.keys() == expected.keys()
        assert all(torch.equal(actual[name], expected[name]) for name in expected)


def test_a_gan_takes_it_where_a_config_names_mmagics():
    gan = make_gan('sngan', ema_config=dict(type='ExponentialMovingAverage', momentum=0.1))
    assert type(gan.generator_ema) is ForeachEMA
    assert (
        type(make_gan('sngan', ema_config=dict(type='RampUpEMA')).generator_ema).__name__
        == 'RampUpEMA'
    )
