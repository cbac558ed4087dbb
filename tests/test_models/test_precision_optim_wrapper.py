"""Training in float32, bfloat16 and float16: what is equal, what is kept, what is told."""

import copy
import functools
import logging
import random

import pytest
import torch
from mmagic.registry import OPTIM_WRAPPERS
from mmengine.optim import OptimWrapper
from torch import nn

from disp_plugin.models import PrecisionOptimWrapper, precision_optim_wrapper
from tests.gans import TYPE, make_gan, train_gan
from tests.numerics import assert_close_to_scale
from tests.test_models.test_float32 import UNIT, count_layers

GANS = list(TYPE)


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch):
    """The networks of these tests are on the CPU, wherever others would be."""
    monkeypatch.setattr(precision_optim_wrapper, 'get_device', lambda: 'cpu')


@pytest.fixture
def said(monkeypatch):
    """What is logged: (level, text)."""
    found = []
    monkeypatch.setattr(
        precision_optim_wrapper,
        'print_log',
        lambda text, logger, level: found.append((logging.getLevelName(level), text)),
    )
    return found


@pytest.fixture
def float16(monkeypatch):
    """float16 on this CPU, which torch can though it is slow."""
    monkeypatch.setattr(
        precision_optim_wrapper, 'choose_precision', lambda *args: (torch.float16, 'float16')
    )


def wrap(module, precision='bfloat16', fused=None, **options):
    optimizer = torch.optim.Adam(module.parameters(), 0.01, fused=fused)
    return PrecisionOptimWrapper(optimizer, precision=precision, **options)


def train(name, wrapper, num_iters=3, seed=0, **options):
    gan = make_gan(name, seed=seed)
    torch.manual_seed(1)
    random.seed(1)
    return gan, train_gan(gan, num_iters, wrapper=wrapper, **options)


def step(module, wrapper, inputs):
    with wrapper.optim_context(module):
        wrapper.update_params(module(inputs).float().square().mean())


@pytest.mark.parametrize('name', GANS)
def test_in_float32_it_is_the_plain_wrapper_bit_for_bit(name):
    options = dict(accumulative_counts=2, clip_grad=dict(max_norm=0.5))
    for given in ({}, options):
        plain, logged = train(name, OptimWrapper, **copy.deepcopy(given))
        ours = functools.partial(PrecisionOptimWrapper, precision='float32')
        gan, log = train(name, ours, **copy.deepcopy(given))
        assert all(torch.equal(v, plain.state_dict()[k]) for k, v in gan.state_dict().items())
        assert log == logged


@pytest.mark.parametrize('name', GANS)
def test_losses_in_bfloat16_are_those_of_float32_up_to_rounding_in_each_layer(name):
    (_, expected), (gan, found) = (
        train(name, functools.partial(PrecisionOptimWrapper, precision=p), 1)
        for p in ('float32', 'bfloat16')
    )
    # the losses change no faster than scores, and those by both networks' rounding
    layers = count_layers(gan.generator) + count_layers(gan.discriminator)
    scale = max(abs(expected[0]['score_real']), abs(expected[0]['score_fake']), 1)
    for key in ('loss_disc_fake', 'loss_disc_real', 'loss_disc_fake_g'):
        if key in expected[0]:
            assert abs(found[0][key] - expected[0][key]) < layers * UNIT * scale
    assert not torch.equal(found[0]['score_real'], expected[0]['score_real'])
    if name == 'stylegan2':  # of the same weights and images
        assert torch.equal(found[0]['loss_r1_gp'], expected[0]['loss_r1_gp'])


@pytest.mark.parametrize('name', GANS)
def test_in_bfloat16_weights_and_gradients_stay_in_float32_and_finite(name):
    gan, _ = train(name, functools.partial(PrecisionOptimWrapper, precision='bfloat16'))
    assert {v.dtype for v in gan.state_dict().values() if v.is_floating_point()} == {torch.float32}
    assert all(v.isfinite().all() for v in gan.state_dict().values())


def test_fused_adam_moves_weights_as_adam_does():
    torch.manual_seed(0)
    start, gradients = torch.randn(1000), torch.randn(5, 1000)
    exact, *found = (
        run_adam(start.to(kind), gradients.to(kind), **options)
        for kind, options in (
            (torch.float64, {}),
            (torch.float32, dict(foreach=False)),
            (torch.float32, dict(fused=True)),
        )
    )
    for weights in found:
        # five updates of ten operations each, none larger than a weight
        assert_close_to_scale(weights, exact, num_terms=50, dtype=torch.float32)


def run_adam(start, gradients, **options):
    weight = nn.Parameter(start.clone())
    adam = torch.optim.Adam([weight], lr=0.1, betas=(0.0, 0.99), **options)
    for gradient in gradients:
        weight.grad = gradient
        adam.step()
    return weight.detach()


def test_gradients_of_layers_in_float32_are_not_rounded():
    """Under autocast the matrix products of a backward pass would be in bfloat16."""
    torch.manual_seed(0)
    layer, inputs = nn.Linear(8, 8), torch.randn(4, 8)
    wrapper = wrap(layer)
    with wrapper.optim_context(layer):
        with torch.autocast('cpu', enabled=False):
            loss = layer(inputs).square().mean()
        wrapper.backward(loss)
    expected = torch.autograd.grad(layer(inputs).square().mean(), layer.weight)
    assert torch.equal(layer.weight.grad, expected[0])


def test_accumulated_gradients_are_those_of_the_whole_batch_in_each_precision():
    torch.manual_seed(0)
    start, inputs = nn.Linear(8, 8), torch.randn(8, 8)
    whole, parts = copy.deepcopy(start), copy.deepcopy(start)
    wrapper = PrecisionOptimWrapper(torch.optim.SGD(whole.parameters(), 1.0), precision='bfloat16')
    step(whole, wrapper, inputs)
    wrapper = PrecisionOptimWrapper(
        torch.optim.SGD(parts.parameters(), 1.0), accumulative_counts=2, precision='bfloat16'
    )
    for part in inputs.chunk(2):
        before = parts.weight.clone()
        step(parts, wrapper, part)
        assert torch.equal(before, parts.weight) == bool(wrapper.inner_count % 2)
    moved = (whole.weight - start.weight).norm()
    assert moved > 0 and (whole.weight - parts.weight).norm() < 4 * UNIT * moved


def test_the_registry_builds_it_and_the_machine_decides():
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    wrapper = OPTIM_WRAPPERS.build(dict(type='PrecisionOptimWrapper', optimizer=optimizer))
    assert wrapper.cast_dtype == precision_optim_wrapper.choose_precision('auto', 'cpu')[0]


def test_the_reason_is_logged_once_a_run_and_slow_bfloat16_as_a_warning(said, monkeypatch):
    monkeypatch.setattr(precision_optim_wrapper, 'find_bfloat16', lambda device: None)
    train('sngan', functools.partial(PrecisionOptimWrapper, precision='bfloat16'), 2)
    train('sngan', functools.partial(PrecisionOptimWrapper, precision='float32'), 2)
    assert [level for level, _ in said] == ['WARNING', 'INFO']
    assert said[1][1] == 'networks train in float32, as asked for'


def test_float16_on_a_cpu_is_refused():
    with pytest.raises(ValueError, match="'float16', which is for GPUs"):
        wrap(nn.Linear(2, 2), 'float16')


class TestCheckpoints:
    def trained(self, precision):
        torch.manual_seed(0)
        layer = nn.Linear(4, 4)
        wrapper = (
            OptimWrapper(torch.optim.Adam(layer.parameters(), 0.01))
            if precision == 'plain'
            else wrap(layer, precision)
        )
        step(layer, wrapper, torch.ones(2, 4))
        return layer, wrapper

    def test_that_of_float32_is_the_plain_wrappers(self):
        (_, plain), (_, ours) = self.trained('plain'), self.trained('float32')
        assert str(plain.state_dict()) == str(ours.state_dict())

    @pytest.mark.parametrize('before', ['plain', 'float32', 'bfloat16'])
    @pytest.mark.parametrize('after', ['plain', 'float32', 'bfloat16'])
    def test_any_resumes_in_any_and_another_precision_is_told(self, before, after, said):
        state = copy.deepcopy(self.trained(before)[1].state_dict())
        _, wrapper = self.trained(after)
        said.clear()
        wrapper.load_state_dict(copy.deepcopy(state))
        assert str(wrapper.state_dict()['state']) == str(state['state'])
        names = [name.replace('plain', 'float32') for name in (before, after)]
        if after == 'plain' or names[0] == names[1]:
            assert said == []
        else:
            (level, text) = said[0]
            assert level == 'WARNING' and f'trained in {names[0]}, and' in text
            assert f'goes on in {names[1]}, as asked for' in text

    def test_a_loss_scale_is_resumed_and_left_by_others(self, float16, said):
        layer = nn.Linear(4, 4)
        wrapper = wrap(layer, loss_scale=dict(init_scale=8.0))
        step(layer, wrapper, torch.ones(2, 4))
        state = wrapper.state_dict()
        assert state['precision'] == 'float16' and state['loss_scaler']['scale'] == 8.0
        resumed = wrap(layer, loss_scale=dict(init_scale=2.0))
        resumed.load_state_dict(state)
        assert resumed.loss_scaler.get_scale() == 8.0
        assert [text for _, text in said] == ['networks train in float16']
        plain = OptimWrapper(torch.optim.Adam(layer.parameters(), 0.01))
        plain.load_state_dict(copy.deepcopy(state))
        del state['precision'], state['loss_scaler']
        assert str(plain.state_dict()) == str(state)


class TestLossScaler:
    @pytest.mark.parametrize('fused', [False, True])
    def test_a_step_that_overflows_is_skipped_and_halves_the_scale(self, float16, fused):
        layer = nn.Linear(4, 4)
        wrapper = wrap(layer, fused=fused, loss_scale=dict(init_scale=2.0**10))
        before = copy.deepcopy(layer.state_dict())
        step(layer, wrapper, torch.full((2, 4), float('inf')))
        assert wrapper.loss_scaler.get_scale() == 2.0**9
        assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items())
        step(layer, wrapper, torch.ones(2, 4))
        assert not torch.equal(layer.weight, before['weight'])

    def test_scaled_gradients_move_weights_as_unscaled_ones(self, float16):
        torch.manual_seed(0)
        start, inputs = nn.Linear(8, 8), torch.randn(4, 8)
        moved = []
        for scale in (1.0, 1024.0):
            layer = copy.deepcopy(start)
            optimizer = torch.optim.SGD(layer.parameters(), 1.0)
            step(layer, PrecisionOptimWrapper(optimizer, loss_scale=scale), inputs)
            moved.append(layer.weight - start.weight)
        assert moved[0].norm() > 0
        # float16 keeps 11 bits
        assert (moved[0] - moved[1]).norm() < 4 * 2.0**-11 * moved[0].norm()

    def test_other_precisions_have_none(self):
        for precision in ('float32', 'bfloat16'):
            assert not wrap(nn.Linear(2, 2), precision).loss_scaler.is_enabled()
