"""tools/fit_sampler.py: one trained model, sampled in several ways from its checkpoint alone."""

import shutil
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from disp_plugin.priors import PriorBank
from disp_plugin.samplers import GMMPriorSampler

SAMPLERS = {
    'EmpiricalPriorSampler': [],
    'VicinalMixSampler': ['num_neighbors=3'],
    'KMeansPriorSampler': ['num_components=7'],
    'IMLESampler': ['num_epochs=2'],
    'GMMPriorSampler': ['num_components=5', 'covariance_type=spherical'],
}


@pytest.fixture
def fit(tool, trained, tmp_path):
    """A function (*sampler, *options) -> checkpoint with that sampler."""

    def run(*sampler, options=(), checkpoint=trained / 'iter_4.pth'):
        out = tmp_path / f'{len(list(tmp_path.iterdir()))}.pth'
        arguments = ['--sampler', *sampler, '--out', str(out), *map(str, options)]
        tool('fit_sampler.py').main([str(checkpoint), *arguments])
        return out

    return run


def state_of(checkpoint):
    return torch.load(checkpoint, map_location='cpu', weights_only=True)['state_dict']


@pytest.mark.parametrize('name', SAMPLERS)
def test_each_sampler_works_from_the_checkpoint_alone(
    name, fit, tool, small_run, trained, tmp_path, monkeypatch
):
    checkpoint = fit(f'type={name}', *SAMPLERS[name])
    before, after = state_of(trained / 'iter_4.pth'), state_of(checkpoint)
    same = [key for key in before if not key.startswith('sampler.')]
    assert all(torch.equal(before[key], after[key]) for key in same)
    hidden = small_run.bank_file.with_suffix('.hidden')
    shutil.move(small_run.bank_file, hidden)
    monkeypatch.chdir(tmp_path)
    try:
        out = str(tmp_path / 'samples')
        tool('sample.py').main([str(checkpoint), '--out', out, '--num', '9'])
    finally:
        shutil.move(hidden, small_run.bank_file)
    images = [np.asarray(Image.open(path)) for path in (tmp_path / 'samples').glob('0*.png')]
    assert len({image.tobytes() for image in images}) == 9


def test_the_mixture_is_fitted_to_the_training_images_of_the_bank(fit, small_run):
    options = dict(num_components=5, covariance_type='spherical')
    sampler = GMMPriorSampler(**options)
    sampler.fit(PriorBank.open(small_run.bank_file))
    state = state_of(fit('type=GMMPriorSampler', *SAMPLERS['GMMPriorSampler']))
    for name, value in sampler.state_dict().items():
        torch.testing.assert_close(state[f'sampler.{name}'], value)


def test_mistakes_are_told_in_the_users_words(fit, refusal, tmp_path):
    mixture = 'type=GMMPriorSampler'
    no_bank = partial(fit, options=['--bank-file', tmp_path / 'none'])
    assert '--sampler needs a type' in refusal(fit, 'num_components=5')
    assert "did you mean 'GMMPriorSampler'?" in refusal(fit, 'type=GMPriorSampler')
    assert '1000 components to the 100 priors' in refusal(fit, mixture)
    assert 'there is no prior bank' in refusal(no_bank, mixture)
    assert list(tmp_path.iterdir()) == []


def test_a_bank_of_other_data_or_an_altered_one_is_refused(fit, refusal, small_run, tmp_path):
    bank = tmp_path / 'other'
    PriorBank([f'{row}.png' for row in range(9)], torch.rand(9, 1, 7)).save(bank)
    said = refusal(partial(fit, options=['--bank-file', bank]), 'type=KMeansPriorSampler')
    content = bytearray(small_run.bank_file.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / 'altered').write_bytes(content)
    altered = partial(fit, options=['--bank-file', tmp_path / 'altered'])
    assert 'altered is damaged' in refusal(altered, 'type=KMeansPriorSampler')
    assert 'takes 128-d priors but' in said and '7-d' in said
