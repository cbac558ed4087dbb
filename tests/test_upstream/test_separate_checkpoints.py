"""Separately wrapped networks are saved under the names by which mmengine looks for them."""

import copy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage, MMSeparateDistributedDataParallel
from mmengine.runner.checkpoint import load_state_dict
from torch import nn


class Pair(nn.Module):
    """Two networks that are wrapped, an average that is not, and a child that is called module."""

    def __init__(self):
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        self.discriminator = nn.ModuleDict({'module': nn.utils.spectral_norm(nn.Linear(3, 1))})
        self.generator_ema = ExponentialMovingAverage(self.generator)


@pytest.fixture
def one_process(tmp_path):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def test_names_and_their_order_are_those_without_wrappers(one_process):
    plain = Pair()
    wrapped = MMSeparateDistributedDataParallel(copy.deepcopy(plain))
    assert type(wrapped.module.generator) is not type(plain.generator)
    expected, found = plain.state_dict(), wrapped.module.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert found._metadata == expected._metadata


def test_what_is_saved_is_found_again_wrapped_or_not(one_process, capsys):
    source = MMSeparateDistributedDataParallel(Pair()).module.state_dict()
    target = MMSeparateDistributedDataParallel(Pair()).module
    load_state_dict(target, source)
    assert 'do not match' not in capsys.readouterr().out
    for name, value in target.state_dict().items():
        assert torch.equal(value, source[name]), name
    Pair().load_state_dict(source)
