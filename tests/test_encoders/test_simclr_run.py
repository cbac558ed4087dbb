"""The parts of a training by SimCLR against their formulas."""

import json
import math

import pytest
import torch

from disp_plugin.encoders.simclr_run import (
    SimCLROptions,
    SimCLRRun,
    describe_change,
    find_pairs,
    learning_rate_factor,
)
from disp_plugin.encoders.simclr_views import ViewOptions

TINY = SimCLROptions(
    'timm/resnet10t', dict(channels=(8, 8, 16, 16), stem_width=8), ViewOptions(in_size=16)
)


def test_the_loss_is_nt_xent():
    first, second = torch.randn(2, 5, 8)
    got = SimCLRRun(TINY, {}, 'cpu').loss_fn(first, second)

    z = torch.nn.functional.normalize(torch.cat([first, second]).double())
    total = 0.0
    for i in range(10):
        similar = [math.exp(float(z[i] @ z[k]) / TINY.temperature) for k in range(10) if k != i]
        pair = math.exp(float(z[i] @ z[(i + 5) % 10]) / TINY.temperature)
        total -= math.log(pair / sum(similar))
    assert float(got) == pytest.approx(total / 10, rel=1e-5)


def test_a_step_lowers_the_loss_of_its_own_batch():
    run = SimCLRRun(TINY, {}, 'cpu')
    views = torch.randint(0, 256, (12, 2, 16, 16, 3), dtype=torch.uint8)
    losses = [float(run._step(views, 0.1)[0]) for _ in range(15)]
    assert losses[-1] < losses[0] - 0.3


def test_the_network_sees_both_views_normalized_and_apart(monkeypatch):
    run = SimCLRRun(TINY, {}, 'cpu')
    views = torch.randint(0, 256, (4, 2, 16, 16, 3), dtype=torch.uint8)
    seen = {}
    forward = run.network.forward
    monkeypatch.setattr(run.network, 'forward', lambda x: seen.update(x=x) or forward(x))
    run._step(views, 0.5)
    want = torch.cat([views[:, 0], views[:, 1]]).permute(0, 3, 1, 2).double() / 127.5 - 1
    torch.testing.assert_close(seen['x'].double(), want, rtol=1e-5, atol=1e-5)


def test_pairs_are_counted():
    first = torch.eye(4)[:3]
    assert find_pairs(first, first * 2) == 1
    assert find_pairs(first, first.roll(1, 0)) == 0


def test_the_learning_rate_rises_and_falls():
    rates = [learning_rate_factor(i / 1000) for i in range(1000)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == pytest.approx(1, abs=1e-6)
    assert rates.index(max(rates)) == 100
    assert rates[550] == pytest.approx(0.5, abs=1e-6)
    assert rates[-1] < 1e-4


def test_changed_options_are_named():
    before = dict(epochs=10, lr=1e-3, images='abc', views=dict(flip=True, shift=0.0))
    now = dict(epochs=20, lr=1e-3, images='abd', views=dict(flip=False, shift=0.0))
    assert describe_change(before, now) == (
        'epochs 10 instead of 20, other images, flip True instead of False'
    )
    assert describe_change(before, json.loads(json.dumps(before))) == ''


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(epochs=0), 'epochs must be at least 1, but is 0'),
        (dict(batch_size=1), 'batch-size must be at least 2, but is 1: an encoder is trained on'),
        (dict(lr=0), 'lr must be positive, but is 0'),
        (dict(temperature=-1), 'temperature must be positive, but is -1'),
        (dict(seed=-1), 'seed must not be negative, but is -1'),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SimCLROptions(**options)
