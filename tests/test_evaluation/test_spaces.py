"""Spaces by name, by config, and by default; metrics share networks."""

import os

import pytest
import torch
from mmagic.registry import MODELS

from disp_plugin.evaluation.spaces import choose_spaces, get_space, run_encoder

SIMCLR = dict(type='CheckpointEncoder', checkpoint='encoder.pth')
RUN = dict(model=dict(prior_dim=8), encoder=SIMCLR)
# They have no priors of unseen images.
BASELINES = (
    dict(model=dict(prior_dim=0), encoder=SIMCLR),
    dict(model=dict(prior_dim=8, per_image=True), encoder=SIMCLR),
    dict(model=dict(prior_dim=8), encoder=None),
)
CLEAN = dict(type='InceptionEncoder', resize='clean')
OWN = dict(type='TimmEncoder', model='resnet18')


@pytest.mark.parametrize(
    ('chosen', 'run', 'expected'),
    [
        (None, RUN, dict(clean=CLEAN, prior='encoder')),
        (None, dict(RUN, test_evaluator=dict(spaces=dict(pixels=OWN))), dict(pixels=OWN)),
        ({'legacy': ''}, RUN, dict(legacy=dict(CLEAN, resize='legacy'))),
        ({'prior': '', 'mine': OWN}, RUN, dict(prior='encoder', mine=OWN)),
        (None, None, dict(clean=CLEAN)),
        *((None, run, dict(clean=CLEAN)) for run in BASELINES),
    ],
)
def test_spaces_are_those_of_the_command_line_or_the_config_or_two(chosen, run, expected):
    assert choose_spaces(chosen, run) == expected


@pytest.mark.parametrize(
    ('chosen', 'run', 'message'),
    [
        ({'vgg': ''}, None, "'vgg' is unknown; known are clean, legacy"),
        ({'mine': 'resnet18'}, None, "space mine has 'resnet18'"),
        *(({'prior': ''}, run, "no space 'prior'") for run in BASELINES),
    ],
)
def test_spaces_that_are_not_there_are_refused(chosen, run, message):
    with pytest.raises(ValueError, match=message):
        choose_spaces(chosen, run)


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


def test_the_run_is_measured_in_the_precision_of_its_encoder():
    encoder = dict(
        type='CheckpointEncoder',
        arch='timm/resnet10t',
        arch_kwargs=dict(channels=[4, 4, 4, 4], stem_width=4),
        untrained=True,
        in_size=32,
    )
    exact, rounded = (
        get_space('prior', run_encoder(dict(RUN, encoder=dict(encoder, precision=precision))))
        for precision in ('float32', 'bfloat16')
    )
    images = torch.randint(256, (3, 20, 20, 3), dtype=torch.uint8)
    features = rounded.features(images)
    assert torch.equal(features, rounded.encoder.encode(images).cpu())
    assert features.dtype == torch.float32
    assert not torch.equal(features, exact.features(images))
    # so features of real images that were kept of one are not those of the other
    assert rounded.describe() != exact.describe()
