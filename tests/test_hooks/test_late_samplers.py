"""PriorSamplerHook fits a sampler that is slow to fit once, before it is first needed."""

import pytest
import torch

from disp_plugin.priors import PriorBank
from disp_plugin.samplers import GMMPriorSampler


@pytest.fixture
def make(make_runner, gan_cfg, data):
    def build(max_iters, interval, bank_file=None, hooks=(), sampler=None, **options):
        sampler = sampler or {
            'type': 'GMMPriorSampler',
            'num_components': 2,
            'pca_variance': None,
        }
        model = gan_cfg['sngan'](sampler=sampler, discriminator_steps=1)
        hook = {'type': options.pop('hook', 'PriorSamplerHook')}
        return make_runner(
            model,
            max_iters,
            data=(data[0], bank_file or data[1]),
            custom_hooks=[hook, *hooks],
            checkpoint={'interval': interval},
            **options,
        )

    return build


@pytest.fixture
def fits(monkeypatch):
    """The iterations that were done when the mixture was fitted."""
    done, current = [], []
    fit = GMMPriorSampler.fit

    def noted(self, bank):
        done.append(current[-1].iter + 1)
        fit(self, bank)

    monkeypatch.setattr(GMMPriorSampler, 'fit', noted)
    return done, current


def train(runner, fits):
    fits[1].append(runner)
    runner.train()
    return fits[0]


@pytest.mark.parametrize('hook', ['PriorSamplerHook', 'GMMSamplerHook'])
def test_it_is_fitted_before_the_first_checkpoint_and_once(make, fits, hook):
    runner = make(6, interval=2, hook=hook)
    assert train(runner, fits) == [2]
    state = torch.load(f'{runner.work_dir}/iter_2.pth', weights_only=False)['state_dict']
    assert state['sampler.means'].shape == (2, 6)
    assert torch.equal(state['sampler.means'], runner.model.sampler.means)


def test_it_is_fitted_before_the_first_grid_or_at_the_end(make, fits, visualization):
    assert train(make(6, interval=5, hooks=[visualization(3)]), fits) == [3]
    fits[0].clear()
    assert train(make(3, interval=100), fits) == [3]


def test_the_normalization_is_fitted_before_training(make, fits):
    runner = make(1, interval=100)
    seen = []
    step = runner.model.train_step
    runner.model.train_step = lambda *args, **kwargs: (
        seen.append((runner.model.prior_normalizer.is_fitted, runner.model.sampler.is_fitted))
        or step(*args, **kwargs)
    )
    train(runner, fits)
    assert seen == [(True, False)]


def test_a_resumed_run_fits_again_for_another_bank_only(make, fits, tmp_path):
    first = make(2, interval=2)
    train(first, fits)
    checkpoint = f'{first.work_dir}/iter_2.pth'
    assert train(make(4, interval=2, resume=True, load_from=checkpoint), fits) == [2]
    keys = [f'image_{index:04d}.png' for index in range(10)]
    PriorBank(keys, torch.rand(10, 2, 6) + 50).save(tmp_path / 'other')
    resumed = make(5, 2, tmp_path / 'other', resume=True, load_from=checkpoint)
    assert train(resumed, fits) == [2, 4]
    assert resumed.model.sampler.sample(5).min() > 40


def test_another_sampler_in_the_config_is_fitted_anew(make, fits):
    first = make(2, interval=2)
    train(first, fits)
    checkpoint = f'{first.work_dir}/iter_2.pth'
    other = {'type': 'GMMPriorSampler', 'num_components': 3, 'pca_variance': None}
    resumed = make(4, interval=2, sampler=other, resume=True, load_from=checkpoint)
    assert train(resumed, fits) == [2, 4]
    assert resumed.model.sampler.means.shape == (3, 6)


def test_what_cannot_be_fitted_is_told_before_training(make, fits):
    runner = make(2, interval=2, sampler={'type': 'GMMPriorSampler', 'num_components': 11})
    with pytest.raises(ValueError, match='11 components to the 10 priors'):
        train(runner, fits)
    assert runner.iter == 0


def test_a_bank_that_is_rebuilt_during_the_run_is_told(make, data, tmp_path):
    bank = tmp_path / 'bank'
    bank.write_bytes(data[1].read_bytes())
    runner = make(2, interval=2, bank_file=bank)
    step = runner.model.train_step

    def rebuild(*args, **kwargs):
        keys = [f'image_{index:04d}.png' for index in range(10)]
        PriorBank(keys, torch.rand(10, 2, 6)).save(bank)
        return step(*args, **kwargs)

    runner.model.train_step = rebuild
    with pytest.raises(ValueError, match='was rebuilt while this run used it'):
        runner.train()


def test_sampling_does_not_change_training(make, fits):
    weights = []
    for interval in (2, 4):
        runner = make(4, interval=interval)
        train(runner, fits)
        weights.append(runner.model.generator.state_dict())
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
