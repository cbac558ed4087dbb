"""A config is told in a few lines, whatever is missing from it or strange in it."""

import pytest

import disp_plugin.register  # noqa: F401
from disp_plugin.evaluation.digest_config import digest_config


@pytest.mark.parametrize(
    ('cfg', 'iteration', 'text'),
    [
        ({'train_cfg': {'max_iters': 80}}, 60, '60 of 80'),
        ({'train_cfg': {'max_iters': 80}}, None, '80 planned'),
        ({}, 60, '60'),
        ({'train_cfg': {}}, 0, '0'),
    ],
)
def test_the_length_is_told_as_far_as_it_is_known(cfg, iteration, text):
    assert dict(digest_config(cfg, iteration))['iterations'] == text


def test_of_an_empty_config_nothing_is_told():
    assert digest_config({}) == []


def test_the_normalization_of_priors_is_told_with_its_length():
    model = dict(prior_dim=128, prior_norm='l2')
    told = [dict(digest_config({'model': m})) for m in (model, model | dict(prior_length=2.0))]
    lines = [next(line for line in t.values() if '128 numbers' in line) for t in told]
    assert lines == [
        '128 numbers, normalized by l2',
        '128 numbers, normalized by l2 to the length 2.0',
    ]


@pytest.mark.parametrize('part', [{1: 2}, {'type': {}}, 'x', 3, [1], None, {'type': 'X', 1: 2}])
def test_parts_that_are_no_configs_of_ours_do_no_harm(part):
    names = ('model', 'encoder', 'train_dataloader', 'train_cfg', 'randomness')
    told = dict(digest_config({**dict.fromkeys(names, part), 'image_size': 16}))
    assert told['image size'] == '16 x 16'
    nested = {'model': {'sampler': part, 'generator': part}, 'train_dataloader': {'dataset': part}}
    assert isinstance(digest_config(nested), list)
