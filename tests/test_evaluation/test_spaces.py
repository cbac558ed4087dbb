"""Spaces by name, by config, and by default; metrics share networks."""

import os

import pytest
import torch
from mmagic.registry import MODELS

from disp_plugin.evaluation.spaces import choose_spaces, get_space

SIMCLR = dict(type='CheckpointEncoder', checkpoint='encoder.pth')
RUN = dict(model=dict(prior_dim=8), encoder=SIMCLR)


def test_two_spaces_stand_beside_each_other():
    assert list(choose_spaces(None, RUN)) == ['clean', 'prior']
    assert choose_spaces(None, RUN)['prior'] == 'encoder'
    assert list(choose_spaces(None)) == ['clean']


@pytest.mark.parametrize(
    'run',
    [
        dict(model=dict(prior_dim=0), encoder=SIMCLR),
        dict(model=dict(prior_dim=8, per_image=True), encoder=SIMCLR),
        dict(model=dict(prior_dim=8), encoder=None),
    ],
)
def test_a_baseline_has_no_space_of_priors(run):
    assert list(choose_spaces(None, run)) == ['clean']
    with pytest.raises(ValueError, match="no space 'prior'"):
        choose_spaces({'prior': ''}, run)


def test_a_configs_own_spaces_are_taken():
    run = dict(RUN, test_evaluator=dict(spaces=dict(pixels=dict(type='PixelEncoder'))))
    assert choose_spaces(None, run) == dict(pixels=dict(type='PixelEncoder'))
    assert list(choose_spaces({'legacy': ''}, run)) == ['legacy']


def test_the_command_line_names_known_ones_or_brings_a_config():
    own = dict(type='TimmEncoder', model='resnet18')
    chosen = choose_spaces({'pixels': '', 'mine': own})
    assert chosen == {'pixels': dict(type='PixelEncoder', size=8), 'mine': own}


def test_unknown_spaces_are_refused():
    with pytest.raises(ValueError, match="'vgg' is unknown; known are clean, legacy"):
        choose_spaces({'vgg': ''})
    with pytest.raises(ValueError, match="space mine has 'resnet18'"):
        choose_spaces({'mine': 'resnet18'})


def test_equal_configs_share_one_encoder():
    first = get_space('pixels', dict(type='PixelEncoder', size=3))
    assert get_space('pixels', dict(size=3, type='PixelEncoder')) is first
    assert get_space('pixels', dict(type='PixelEncoder', size=2)) is not first
    assert get_space('other', dict(type='PixelEncoder', size=3)) is not first


def test_a_batch_is_encoded_once_and_the_next_one_anew():
    space = get_space('pixels', dict(type='PixelEncoder', size=2))
    black = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
    white = torch.full((2, 4, 4, 3), 255, dtype=torch.uint8)
    first = space.features(black)
    assert space.features(black) is first
    assert first.max() == 0 and space.features(white).min() == 1
    assert space.features(black).max() == 0


def test_other_weights_in_the_same_file_are_another_space(tmp_path):
    small = dict(arch='timm/resnet10t', arch_kwargs=dict(channels=(8, 8, 8, 8), stem_width=8))
    file, found = tmp_path / 'encoder.pth', []
    for seed in (0, 1):
        made = MODELS.build(dict(type='CheckpointEncoder', untrained=True, seed=seed, **small))
        torch.save(made.network.state_dict(), file)
        os.utime(file, (seed, seed))
        cfg = dict(type='CheckpointEncoder', checkpoint=str(file), **small)
        found.append(get_space('prior', cfg).encoder.fingerprint())
    assert found[0] != found[1]
