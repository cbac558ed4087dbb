"""Spaces by name, by config, and by default."""

from pathlib import Path

import pytest

from disp_plugin.cli.resolve_config import load_config
from disp_plugin.evaluation.choose_spaces import choose_spaces, read_spaces

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'

SIMCLR = dict(type='CheckpointEncoder', checkpoint='encoder.pth')
RUN = dict(model=dict(prior_dim=8), encoder=SIMCLR)


def test_two_spaces_stand_beside_each_other():
    assert list(choose_spaces(None, RUN)) == ['clean', 'prior']
    assert choose_spaces(None, RUN)['prior'] == SIMCLR
    assert list(choose_spaces(None)) == ['clean']


@pytest.mark.parametrize(
    'run',
    [
        dict(model=dict(prior_dim=0), encoder=SIMCLR),
        dict(model=dict(prior_dim=8), encoder=dict(type='PerImageEncoder', num_images=8)),
    ],
)
def test_a_baseline_has_no_space_of_priors(run):
    assert list(choose_spaces(None, run)) == ['clean']
    with pytest.raises(ValueError, match="no space 'prior'"):
        choose_spaces(['prior'], run)


def test_a_configs_own_spaces_are_taken():
    run = dict(RUN, test_evaluator=dict(spaces=dict(pixels=dict(type='PixelEncoder'))))
    assert choose_spaces(None, run) == dict(pixels=dict(type='PixelEncoder'))
    assert list(choose_spaces(['legacy'], run)) == ['legacy']


@pytest.mark.parametrize('name', sorted(CONFIGS.glob('*digits*.py')), ids=lambda file: file.stem)
def test_every_config_of_the_digits_has_a_space(name):
    cfg = load_config(name)
    is_disp = name.stem.startswith('disp')
    assert list(choose_spaces(None, cfg)) == (['pixels', 'prior'] if is_disp else ['pixels'])


def test_the_command_line_names_known_ones_or_brings_a_config():
    own = dict(type='TimmEncoder', model='resnet18')
    chosen = choose_spaces(read_spaces({'pixels': '', 'mine': own}))
    assert chosen == {'pixels': dict(type='PixelEncoder', size=8), 'mine': own}
    assert read_spaces(None) is None


def test_unknown_spaces_are_refused():
    with pytest.raises(ValueError, match="'vgg' is unknown; known are clean, legacy"):
        choose_spaces(['vgg'])
    with pytest.raises(ValueError, match="space mine has 'resnet18'"):
        read_spaces({'mine': 'resnet18'})
