"""Bounds hold for every pair, and exact values are exact, whatever the features look like."""

import numpy as np
import pytest
import torch

from disp_plugin.evaluation.squared_distances import SquaredDistances, full_precision


def features_of(kind, rng):
    """(60, 40) float32 features that make distances hard to compute."""
    points = rng.normal(size=(60, 40))
    if kind == 'far from the origin':
        points += 1e3
    elif kind == 'near copies':
        points[30:] = points[:30] + 1e-4 * rng.normal(size=(30, 40))
    elif kind == 'two clumps':
        points = 1e-5 * points + np.sign(np.arange(60) - 30.5)[:, None] * 10
    elif kind == 'ties':
        points = rng.integers(0, 2, size=(60, 40)).astype(float)
    elif kind == 'one repeated':
        points[:] = points[0]
    elif kind == 'large and small':
        points *= 10.0 ** rng.integers(-3, 4, size=(60, 1))
    return torch.from_numpy(points.astype(np.float32))


KINDS = (
    'plain',
    'far from the origin',
    'near copies',
    'two clumps',
    'ties',
    'one repeated',
    'large and small',
)


def definition(first, second):
    return (first.double()[:, None] - second.double()).square().sum(2)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('kind', KINDS)
def test_exact_squares_lie_within_the_bounds(rng, kind, dtype):
    rows, columns = features_of(kind, rng(0)), features_of(kind, rng(1))
    for first, second in ((rows, columns), (rows, rows)):
        distances = SquaredDistances(first, second, dtype)
        expected = definition(first, second)
        picked = torch.arange(5, 50)
        low, row_slack, column_slack = distances.bounds(picked, slice(10, 55))
        high = low.double() + row_slack[:, None] + column_slack
        assert low.dtype == dtype
        assert (low <= expected[5:50, 10:55]).all() and (high >= expected[5:50, 10:55]).all()
        # and they say something: about the rounding of the numbers that came in
        share = 3 * (40 + 32) * torch.finfo(dtype).eps
        spread = (second - second.mean(0)).square().sum(1).max()
        spread += (first - second.mean(0)).square().sum(1).max()
        assert (high - low).max() <= share * spread + 1e-30


@pytest.mark.parametrize('kind', KINDS)
def test_single_pairs_are_exact(rng, kind, monkeypatch):
    from disp_plugin.evaluation import squared_distances as module

    monkeypatch.setattr(module, '_CPU_VALUES', 100)  # blocks of 2 pairs
    features = features_of(kind, rng(0))
    rows, columns = torch.arange(59), torch.arange(59) + 1
    found = SquaredDistances(features, features).exact(rows, columns)
    torch.testing.assert_close(
        found, definition(features, features)[rows, columns], rtol=1e-14, atol=0
    )


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_of_features_are_bounded_too(rng, dtype):
    features = features_of('near copies', rng(0)).to(dtype)
    low, row_slack, column_slack = SquaredDistances(features, features).bounds(
        torch.arange(60), slice(0, 60)
    )
    expected = definition(features, features)
    high = low.double() + row_slack[:, None] + column_slack
    assert low.dtype == torch.float32 and (low <= expected).all() and (high >= expected).all()


def test_products_are_not_shortened_where_training_allows_it():
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision('medium')
        with full_precision():
            assert torch.get_float32_matmul_precision() == 'highest'
        assert torch.get_float32_matmul_precision() == 'medium'
    finally:
        torch.set_float32_matmul_precision(before)
