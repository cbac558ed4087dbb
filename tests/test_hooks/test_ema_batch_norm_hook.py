import copy

import numpy as np
import pytest
import torch
from mmagic.engine.hooks import VisualizationHook
from mmagic.registry import MODELS
from torch import nn

from disp_plugin.hooks import EMABatchNormHook, estimate_batch_norm
from disp_plugin.priors import PriorBank
from tests.numerics import assert_close_to_scale
from tests.test_hooks.tiny_runs import (
    EMA_BATCH_NORM,
    find_differences,
    gan_cfg,
    load,
    snapshot,
    visualization,
)

BOTH = pytest.mark.parametrize('name', ['biggan', 'sngan'])


@pytest.fixture
def make_gan(data):
    def make(name):
        gan = MODELS.build(gan_cfg(name))
        bank = PriorBank.open(data[1])
        gan.sampler.fit(bank)
        gan.prior_normalizer.fit(torch.from_numpy(np.array(bank.priors)))
        return gan

    return make


def norms_of(generator):
    return {
        name: part
        for name, part in generator.named_modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm)
    }


def are_statistics(names):
    """Whether there are any, all of them BatchNorm statistics of the averaged generator."""
    kinds = ('running_mean', 'running_var', 'num_batches_tracked')
    return names and all(n.startswith('generator_ema.') and n.endswith(kinds) for n in names)


@BOTH
def test_the_statistics_are_the_means_over_the_batches_of_what_each_layer_sees(make_gan, name):
    gan = make_gan(name)
    seen = {}
    for layer, norm in norms_of(gan.generator_ema).items():
        norm.register_forward_pre_hook(
            lambda _, inputs, layer=layer: seen.setdefault(layer, []).append(inputs[0].double())
        )
    estimate_batch_norm(gan, num_batches=3, batch_size=5)
    assert seen
    for layer, batches in seen.items():
        norm = norms_of(gan.generator_ema)[layer]
        assert len(batches) == 3 and len(batches[0]) == 5
        mean = torch.stack([x.mean((0, 2, 3)) for x in batches]).mean(0)
        var = torch.stack([x.var((0, 2, 3), unbiased=True) for x in batches]).mean(0)
        assert_close_to_scale(norm.running_mean, mean)
        assert_close_to_scale(norm.running_var, var)


@BOTH
def test_it_changes_nothing_but_the_averaged_generators_statistics(make_gan, name):
    gan = make_gan(name)
    gan.train()
    gan.generator_ema.module.eval()
    modes = [part.training for part in gan.modules()]
    momenta = [norm.momentum for norm in norms_of(gan).values()]
    before = copy.deepcopy(gan.state_dict())
    with torch.random.fork_rng():
        expected = torch.rand(3)
    estimate_batch_norm(gan, num_batches=2, batch_size=4)
    assert torch.equal(torch.rand(3), expected)
    assert are_statistics(find_differences(gan.state_dict(), before))
    assert [part.training for part in gan.modules()] == modes
    assert [norm.momentum for norm in norms_of(gan).values()] == momenta
    assert all('forward' not in vars(norm) for norm in norms_of(gan).values())


def test_an_averaged_generator_is_normalized_where_copied_statistics_fail_it(make_gan):
    """Weights that the statistics do not belong to, as averaging makes them."""
    gan = make_gan('sngan')
    with torch.no_grad():
        for weight in gan.generator_ema.module.parameters():
            weight.mul_(3)
    normalized = []
    last = list(norms_of(gan.generator_ema).values())[-1]

    def normalize(norm, inputs):
        mean, var = (x[:, None, None] for x in (norm.running_mean, norm.running_var))
        normalized.append(((inputs[0] - mean) / (var + norm.eps).sqrt()).std().item())

    gan.eval()
    for _ in range(2):
        handle = last.register_forward_pre_hook(normalize)
        gan({'num_batches': 256, 'sample_model': 'ema'})
        handle.remove()
        estimate_batch_norm(gan, 16, 64)
    assert abs(normalized[0] - 1) > 0.5 and abs(normalized[1] - 1) < 0.15


def test_synchronized_layers_do_not_wait_for_others(make_gan):
    """On a CPU and without a process group such a layer in training mode raises."""
    gan = make_gan('sngan')
    plain = copy.deepcopy(gan)
    gan.generator_ema = nn.SyncBatchNorm.convert_sync_batchnorm(gan.generator_ema)
    assert any(isinstance(part, nn.SyncBatchNorm) for part in gan.modules())
    for model in (gan, plain):
        estimate_batch_norm(model, 2, 4)
    assert not find_differences(plain.state_dict(), gan.state_dict())


@pytest.mark.slow
@BOTH
def test_training_is_bit_identical_with_and_without_it(train, name):
    states = [
        train(name, 5, hooks=[visualization(1), *hooks]).model.state_dict()
        for hooks in ([EMA_BATCH_NORM], [])
    ]
    assert are_statistics(find_differences(*states))


def test_a_checkpoint_samples_well_by_itself(train, make_gan):
    run = train('biggan', 3, hooks=[EMA_BATCH_NORM])
    for num_iters in (1, 2, 3):  # on and between the updates of the generator
        checkpoint = load(run, num_iters)
        assert checkpoint['ema_batch_norm'] == dict(num_batches=2, batch_size=4, seed=0)
        gan = make_gan('biggan')
        gan.load_state_dict(checkpoint['state_dict'])
        estimate_batch_norm(gan, 2, 4)
        assert not find_differences(gan.state_dict(), checkpoint['state_dict'])
    # on a GPU the state is copied to the CPU before hooks see it
    copied = copy.deepcopy(run.model.state_dict())
    for name, value in copied.items():
        if name.startswith('generator_ema.') and name.endswith('running_mean'):
            value.fill_(7)
    run.call_hook('before_save_checkpoint', checkpoint=dict(state_dict=copied))
    assert not find_differences(run.model.state_dict(), copied)


@pytest.fixture
def events(monkeypatch):
    """What was done, in order: 'estimate' or, by mmagic's hook, 'vis'."""
    events = []
    monkeypatch.setattr(VisualizationHook, 'vis_sample', lambda *_: events.append('vis'))
    monkeypatch.setattr(
        'disp_plugin.hooks.ema_batch_norm_hook.estimate_batch_norm',
        lambda *_, **__: events.append('estimate'),
    )
    return events


@pytest.mark.parametrize(('interval', 'saves'), [(2, 100), (1, 1)])
def test_it_estimates_once_per_state_of_the_weights_and_before_visualization(
    train, events, interval, saves
):
    hooks = [visualization(interval), EMA_BATCH_NORM]
    run = train('sngan', 2 * interval, hooks=hooks, checkpoint=dict(interval=saves))
    run.call_hook('before_val')
    assert events == ['estimate', 'vis'] * 2


@pytest.mark.parametrize('is_ours', [True, False])
def test_a_test_estimates_unless_the_checkpoint_says_that_it_was_done(make, train, events, is_ours):
    run = train(hooks=[EMA_BATCH_NORM] if is_ours else [])
    tester = make(load_from=snapshot(run, 2), hooks=[EMA_BATCH_NORM])
    tester.load_or_resume()
    events.clear()
    tester.call_hook('before_test')
    assert events == ([] if is_ours else ['estimate'])


def test_models_without_priors_are_served_and_those_without_averages_left_in_peace(train):
    assert 'ema_batch_norm' in load(train('plain', hooks=[EMA_BATCH_NORM]), 2)
    plain = gan_cfg('plain', ema_config=None)
    assert 'ema_batch_norm' not in load(train(plain, hooks=[EMA_BATCH_NORM]), 2)


@pytest.mark.parametrize('numbers', [{'num_batches': 0}, {'batch_size': 1}])
def test_numbers_that_cannot_be_are_refused(numbers):
    with pytest.raises(ValueError, match='num_batches of 1 or more and batch_size of 2 or more'):
        EMABatchNormHook(**numbers)
