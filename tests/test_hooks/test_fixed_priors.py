from pathlib import Path

import pytest
import torch
from mmagic.engine.hooks import VisualizationHook
from mmagic.utils import get_sampler
from PIL import Image

from disp_plugin.models import DISPSNGAN
from disp_plugin.priors import PriorBank


@pytest.fixture
def runner(make_runner, gan_cfg, data):
    runner = make_runner(gan_cfg['sngan'](prior_norm='none'))
    runner.model.sampler.fit(PriorBank.open(data[1]))
    return runner


def inputs_of(runner, **kwargs):
    settings = {'type': 'FixedPriors', 'max_times': 3, 'num_batches': 4, **kwargs}
    return [batch['inputs'] for batch in get_sampler(settings, runner)]


def test_noise_and_priors_are_the_same_at_each_visit_and_differ_within_one(runner):
    first, second = inputs_of(runner), inputs_of(runner)
    for one, other in zip(first, second, strict=True):
        assert one['noise'].shape == (4, 8) and one['prior'].shape == (4, 6)
        assert torch.equal(one['noise'], other['noise'])
        assert torch.equal(one['prior'], other['prior'])
    assert not torch.equal(first[0]['noise'], first[1]['noise'])
    assert not torch.equal(first[0]['prior'], first[1]['prior'])
    assert not torch.equal(inputs_of(runner, seed=1)[0]['noise'], first[0]['noise'])


def test_the_images_are_those_of_the_given_noise_and_raw_priors(runner):
    runner.model.eval()
    inputs = inputs_of(runner, sample_model='orig')[0]
    samples = runner.model.val_step({'inputs': inputs})
    noise, prior = inputs['noise'], inputs['prior']
    image = runner.model.generator(noise, prior=runner.model.condition(prior), return_noise=False)
    expected = (image * 127.5 + 127.5).clamp(0, 255)
    found = torch.stack([sample.fake_img for sample in samples])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.stack([sample.prior for sample in samples]), prior)


def test_options_for_sampling_reach_the_model(runner):
    inputs = inputs_of(runner, sample_model='orig', sample_kwargs={'truncation': 0.5})[0]
    assert inputs['sample_model'] == 'orig' and inputs['sample_kwargs'] == {'truncation': 0.5}


def test_a_model_without_priors_gets_noise_only(make_runner, gan_cfg):
    runner = make_runner(gan_cfg['sngan'](prior_dim=0, sampler=None))
    inputs = inputs_of(runner)[0]
    assert 'prior' not in inputs
    assert len(runner.model.val_step({'inputs': inputs})) == 4


@pytest.mark.parametrize('fixed_input', [True, False])
def test_the_grids_of_a_run_and_of_its_resume_show_the_same_inputs(
    make_runner, gan_cfg, visualization, data, monkeypatch, fixed_input
):
    grids = []
    original = DISPSNGAN.val_step

    def record(self, batch):
        grids[-1].append((batch['inputs']['noise'], batch['inputs']['prior']))
        return original(self, batch)

    vis_sample = VisualizationHook.vis_sample

    def start(self, *args):
        grids.append([])
        vis_sample(self, *args)

    monkeypatch.setattr(DISPSNGAN, 'val_step', record)
    monkeypatch.setattr(VisualizationHook, 'vis_sample', start)
    options = {
        'custom_hooks': [
            {'type': 'PriorSamplerHook'},
            {**visualization(1), 'fixed_input': fixed_input},
        ],
        'checkpoint': {'interval': 1},
    }
    runner = make_runner(gan_cfg['sngan'](), 2, **options)
    runner.train()
    checkpoint = f'{runner.work_dir}/iter_2.pth'
    torch.manual_seed(77)
    resumed = make_runner(gan_cfg['sngan'](), 3, resume=True, load_from=checkpoint, **options)
    resumed.train()
    assert len(grids) == 3
    for grid in grids:
        assert len(grid) == 2  # mmagic generates every batch twice
        for (noise, prior), (first_noise, first_prior) in zip(grid, grids[0], strict=True):
            assert torch.equal(noise, first_noise) and torch.equal(prior, first_prior)
    picture = sorted(Path(resumed.work_dir).rglob('*.png'))[0]
    width, height = Image.open(picture).size
    assert width >= 2 * 16 and height >= 2 * 16
