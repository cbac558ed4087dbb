from pathlib import Path

import pytest
import torch
from mmagic.engine.hooks import VisualizationHook
from mmagic.utils import get_sampler
from PIL import Image

from disp_plugin.models import DISPSNGAN
from disp_plugin.priors import PriorBank
from tests.numerics import assert_close_to_scale
from tests.test_hooks.tiny_runs import gan_cfg, snapshot, visualization


@pytest.fixture
def runner(make, data):
    runner = make(gan_cfg(prior_norm='none'))
    runner.model.sampler.fit(PriorBank.open(data[1]))
    return runner


def inputs_of(runner, **kwargs):
    settings = {'type': 'FixedPriors', 'max_times': 3, 'num_batches': 4, **kwargs}
    return [batch['inputs'] for batch in get_sampler(settings, runner)]


def test_inputs_are_the_same_at_each_visit_and_differ_within_one(runner):
    first, second, other = inputs_of(runner), inputs_of(runner), inputs_of(runner, seed=1)
    for name, length in (('noise', 8), ('prior', 6)):
        assert first[0][name].shape == (4, length)
        assert all(torch.equal(a[name], b[name]) for a, b in zip(first, second, strict=True))
        assert not torch.equal(first[0][name], first[1][name])
        assert not torch.equal(first[0][name], other[0][name])
    options = dict(sample_model='orig', sample_kwargs=dict(truncation=0.5))
    assert inputs_of(runner, **options)[0].items() >= options.items()


def test_the_images_are_those_of_the_given_noise_and_raw_priors(runner):
    model = runner.model.eval()
    inputs = inputs_of(runner, sample_model='orig')[0]
    samples = model.val_step({'inputs': inputs})
    image = model.generator(
        inputs['noise'], prior=model.normalize_prior(inputs['prior']), return_noise=False
    )
    expected = (image * 127.5 + 127.5).clamp(0, 255)
    assert_close_to_scale(torch.stack([sample.fake_img for sample in samples]), expected)
    assert torch.equal(torch.stack([sample.prior for sample in samples]), inputs['prior'])


def test_a_model_without_priors_gets_noise_only(make):
    runner = make('plain')
    inputs = inputs_of(runner)[0]
    assert 'prior' not in inputs
    assert len(runner.model.val_step({'inputs': inputs})) == 4


@pytest.mark.parametrize('fixed_input', [True, False])
def test_the_grids_of_a_run_and_of_its_resume_show_the_same_inputs(train, monkeypatch, fixed_input):
    grids = []
    val_step, vis_sample = DISPSNGAN.val_step, VisualizationHook.vis_sample

    def record(self, batch):
        grids[-1].append((batch['inputs']['noise'], batch['inputs']['prior']))
        return val_step(self, batch)

    monkeypatch.setattr(DISPSNGAN, 'val_step', record)
    monkeypatch.setattr(
        VisualizationHook, 'vis_sample', lambda *args: grids.append([]) or vis_sample(*args)
    )
    hooks = [visualization(1, fixed_input=fixed_input)]
    first = train('sngan', 2, hooks=hooks)
    torch.manual_seed(77)
    resumed = train('sngan', 3, hooks=hooks, resume_from=snapshot(first, 2))
    assert len(grids) == 3
    for grid in grids:
        assert len(grid) == 2  # mmagic generates every batch twice
        for inputs, expected in zip(grid, grids[0], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(inputs, expected, strict=True))
    picture = sorted(Path(resumed.work_dir).rglob('*.png'))[0]
    assert min(Image.open(picture).size) >= 2 * 16
