import copy
import random

import numpy as np
import pytest
import torch
from mmagic.engine.hooks import VisualizationHook
from mmagic.registry import MODELS
from torch import nn

from disp_plugin.hooks import EMABatchNormHook, estimate_batch_norm
from disp_plugin.priors import PriorBank

BOTH = pytest.mark.parametrize('name', ['biggan', 'sngan'])


@pytest.fixture
def make_gan(gan_cfg, data):
    def make(name):
        gan = MODELS.build(gan_cfg[name]())
        bank = PriorBank.open(data[1])
        gan.sampler.fit(bank)
        gan.prior_normalizer.fit(torch.from_numpy(np.array(bank.priors)))
        return gan

    return make


@pytest.fixture
def make(make_runner, gan_cfg, visualization, data):
    """A runner with the hook, whose model is fitted when it is trained."""

    def build(name='sngan', max_iters=2, hook=True, vis=100, **options):
        hooks = [{'type': 'EMABatchNormHook', 'num_batches': 2, 'batch_size': 4}] if hook else []
        model = options.pop('model', None) or gan_cfg[name]()
        fit = [{'type': 'PriorSamplerHook'}]
        return make_runner(
            model,
            max_iters,
            custom_hooks=[*(fit if model['prior_dim'] else []), visualization(vis), *hooks],
            **options,
        )

    return build


def norms_of(generator):
    return {
        name: part
        for name, part in generator.named_modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm)
    }


def is_statistic(name):
    return name.rsplit('.', 1)[-1] in ('running_mean', 'running_var', 'num_batches_tracked')


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
        torch.testing.assert_close(norm.running_mean.double(), mean, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(norm.running_var.double(), var, rtol=1e-4, atol=1e-9)


@BOTH
def test_it_changes_nothing_but_the_averaged_generators_statistics(make_gan, name):
    gan = make_gan(name)
    gan.train()
    gan.generator_ema.module.eval()
    modes = [part.training for part in gan.modules()]
    momenta = [norm.momentum for norm in norms_of(gan).values()]
    before = copy.deepcopy(gan.state_dict())
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = random.random(), np.random.random(), torch.rand(1)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    estimate_batch_norm(gan, num_batches=2, batch_size=4)
    assert (random.random(), np.random.random(), torch.rand(1)) == expected
    changed = {
        key for key, value in gan.state_dict().items() if not torch.equal(value, before[key])
    }
    assert changed
    assert all(key.startswith('generator_ema.') and is_statistic(key) for key in changed)
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
    inputs = {'num_batches': 256, 'sample_model': 'ema'}
    for _ in range(2):
        handle = last.register_forward_pre_hook(normalize)
        gan(inputs)
        handle.remove()
        estimate_batch_norm(gan, 16, 64)
    assert abs(normalized[0] - 1) > 0.5 and abs(normalized[1] - 1) < 0.15


@pytest.mark.slow
@BOTH
def test_training_is_bit_identical_with_and_without_it(make, name):
    states = []
    for hook in (True, False):
        runner = make(name, 5, hook=hook, vis=1, checkpoint={'interval': 2})
        runner.train()
        states.append(runner.model.state_dict())
    with_hook, without = states
    different = {key for key, value in with_hook.items() if not torch.equal(value, without[key])}
    assert different
    assert all(key.startswith('generator_ema.') and is_statistic(key) for key in different)


def test_a_checkpoint_samples_well_by_itself(make, make_gan):
    runner = make('biggan', 3, checkpoint={'interval': 1})
    runner.train()
    for num_iters in (1, 2, 3):  # on and between the updates of the generator
        checkpoint = torch.load(f'{runner.work_dir}/iter_{num_iters}.pth', weights_only=False)
        assert checkpoint['ema_batch_norm'] == {'num_batches': 2, 'batch_size': 4, 'seed': 0}
        gan = make_gan('biggan')
        gan.load_state_dict(checkpoint['state_dict'])
        estimate_batch_norm(gan, 2, 4)
        for key, value in gan.state_dict().items():
            assert torch.equal(value, checkpoint['state_dict'][key]), key


def test_the_state_in_a_checkpoint_is_replaced_also_where_it_was_copied(make):
    """On a GPU the state is copied to the CPU before hooks see it."""
    runner = make()
    runner.train()
    checkpoint = {'state_dict': copy.deepcopy(runner.model.state_dict())}
    for key, value in checkpoint['state_dict'].items():
        if key.startswith('generator_ema.') and key.endswith('running_mean'):
            value.fill_(7)
    runner.call_hook('before_save_checkpoint', checkpoint=checkpoint)
    for key, value in runner.model.state_dict().items():
        assert torch.equal(value, checkpoint['state_dict'][key]), key


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


def test_it_estimates_once_per_state_of_the_weights_and_before_visualization(make, events):
    make(max_iters=4, vis=2).train()
    assert events == ['estimate', 'vis'] * 2
    events.clear()
    runner = make(max_iters=2, vis=1, checkpoint={'interval': 1})
    runner.train()
    runner.call_hook('before_val')
    assert events == ['estimate', 'vis'] * 2


@pytest.mark.parametrize('is_ours', [True, False])
def test_a_test_estimates_unless_the_checkpoint_says_that_it_was_done(make, events, is_ours):
    runner = make(hook=is_ours, checkpoint={'interval': 2})
    runner.train()
    tester = make(load_from=f'{runner.work_dir}/iter_2.pth')
    tester.load_or_resume()
    events.clear()
    tester.call_hook('before_test')
    assert events == ([] if is_ours else ['estimate'])


def test_models_without_priors_without_averages_and_without_batch_norm_are_left_in_peace(
    make, gan_cfg
):
    unconditional = gan_cfg['sngan'](prior_dim=0, sampler=None)
    runner = make(model=unconditional, checkpoint={'interval': 2})
    runner.train()
    assert 'ema_batch_norm' in torch.load(f'{runner.work_dir}/iter_2.pth', weights_only=False)
    plain = make(model={**unconditional, 'ema_config': None}, vis=100)
    plain.call_hook('before_val')
    checkpoint = {'state_dict': {}}
    plain.call_hook('before_save_checkpoint', checkpoint=checkpoint)
    assert 'ema_batch_norm' not in checkpoint


def test_synchronized_layers_do_not_wait_for_others(make_gan):
    """On a CPU and without a process group such a layer in training mode raises."""
    gan = make_gan('sngan')
    plain = copy.deepcopy(gan)
    gan.generator_ema = nn.SyncBatchNorm.convert_sync_batchnorm(gan.generator_ema)
    assert any(isinstance(part, nn.SyncBatchNorm) for part in gan.modules())
    for model in (gan, plain):
        estimate_batch_norm(model, 2, 4)
    for key, value in plain.state_dict().items():
        assert torch.equal(value, gan.state_dict()[key]), key


@pytest.mark.parametrize('numbers', [{'num_batches': 0}, {'batch_size': 1}])
def test_numbers_that_cannot_be_are_refused(numbers):
    with pytest.raises(ValueError, match='num_batches of 1 or more and batch_size of 2 or more'):
        EMABatchNormHook(**numbers)
