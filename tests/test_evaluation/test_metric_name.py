"""A metric's name is its protocol, and can be read back."""

import pytest

from disp_plugin.evaluation.metric_name import MetricName


@pytest.mark.parametrize(
    ('name', 'parts'),
    [
        ('fid1000_val_simclr', ('fid', 1000, None, 'val', 'simclr')),
        ('kid10k_test_clean', ('kid', 10_000, None, 'test', 'clean')),
        ('precision10k_k10_test_clean', ('precision', 10_000, 10, 'test', 'clean')),
        ('copying1000_val_pixels', ('copying', 1000, None, 'val', 'pixels')),
        ('fid_floor500_val_vit_small', ('fid_floor', 500, None, 'val', 'vit_small')),
        ('disc_gap_val', ('disc_gap', None, None, 'val', None)),
        ('disc_gap_in_sd_val', ('disc_gap_in_sd', None, None, 'val', None)),
        ('val/fid_inverted20_test_clean', ('fid_inverted', 20, None, 'test', 'clean')),
    ],
)
def test_a_name_is_taken_apart(name, parts):
    assert MetricName.parse(name) == MetricName(*parts)


@pytest.mark.parametrize('name', ['loss', 'time', 'fidelity', 'fid', 'fid10', 'score_real', ''])
def test_what_is_no_metric_has_no_parts(name):
    assert MetricName.parse(name) is None


def test_counts_beyond_all_reason_are_not_read():
    many = '9' * 5000
    assert MetricName.parse(f'fid{many}_test_x') is None
    assert MetricName.parse(f'recall9_k{many}_test_x').k is None


def test_fid_is_looked_at_before_ivom_and_every_metric_has_its_place():
    names = ['ivom_test', 'disc_gap_test', 'copying9_test_x', 'kid9_test_x', 'fid9_test_x']
    assert sorted(names, key=lambda name: MetricName.parse(name).rank) == names[::-1]
