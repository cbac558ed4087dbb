"""A share of the labels is permuted, and no label appears or vanishes."""

from collections import Counter

import pytest

from disp_plugin.encoders.corrupt_labels import corrupt_labels

LABELS = [f'{row % 10}' for row in range(1000)]


def changed(share, seed=0):
    corrupted = corrupt_labels(LABELS, share, seed)
    assert Counter(corrupted) == Counter(LABELS)
    return {row for row in range(1000) if corrupted[row] != LABELS[row]}


@pytest.mark.parametrize('share', [0.0, 0.25, 0.5, 1.0])
def test_a_tenth_of_the_share_keeps_its_label_by_chance(share):
    expected = 900 * share
    # of a permutation of many, the number of kept labels is about Poisson
    assert abs(len(changed(share)) - expected) < 5 * (100 * share) ** 0.5 + 1


def test_nothing_is_changed_without_corruption():
    assert corrupt_labels(LABELS, 0.0) == LABELS


def test_a_larger_share_contains_the_images_of_a_smaller_one():
    distinct = [str(row) for row in range(100)]
    chosen = [
        {row for row in range(100) if corrupt_labels(distinct, share)[row] != distinct[row]}
        for share in (0.3, 1.0)
    ]
    assert chosen[0] < chosen[1]


def test_the_seed_decides():
    assert changed(0.5) == changed(0.5) != changed(0.5, seed=1)


@pytest.mark.parametrize('share', [-0.1, 1.1, float('nan')])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match='must be from 0 to 1'):
        corrupt_labels(LABELS, share)
