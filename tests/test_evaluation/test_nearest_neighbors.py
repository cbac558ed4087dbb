"""Neighbors against sorted differences in float64, for copies and ties, too."""

import numpy as np
import pytest
import torch

from disp_plugin.evaluation import nearest_neighbors as module
from disp_plugin.evaluation import squared_distances
from disp_plugin.evaluation.nearest_neighbors import nearest, squared_radii


@pytest.fixture(params=['whole', 'blocks'])
def block_size(request, monkeypatch):
    """Whether sets are larger than a block."""
    if request.param == 'blocks':
        monkeypatch.setattr(module, 'BLOCK_ROWS', 16)
        monkeypatch.setattr(squared_distances, 'BLOCK_COLUMNS', 24)


def definition(first, second):
    return (first.double()[:, None] - second.double()).square().sum(2)


def clumps(rng, num, jitter, offset, num_clumps=4):
    """Points around a few centers, far from the origin: near copies of each other."""
    centers = rng.normal(size=(num_clumps, 30))
    points = centers[np.arange(num) % num_clumps] + jitter * rng.normal(size=(num, 30))
    return torch.from_numpy((points + offset).astype(np.float32))


SETS = {
    'plain': lambda rng: torch.from_numpy(rng.normal(size=(100, 30)).astype(np.float32)),
    'clumps': lambda rng: clumps(rng, 100, 1e-3, 0),
    'tight clumps': lambda rng: clumps(rng, 100, 1e-6, 0),
    'clumps far away': lambda rng: clumps(rng, 100, 1e-2, 1e3),
    'ties': lambda rng: torch.from_numpy(rng.integers(0, 2, size=(100, 6)).astype(np.float32)),
    'one repeated': lambda rng: torch.full((100, 30), 0.1),
    'pairs': lambda rng: clumps(rng, 100, 0, 0, 50),
}


@pytest.mark.parametrize('kind', SETS)
def test_radii_are_those_of_sorted_differences(rng, kind, block_size):
    features = SETS[kind](rng(0))
    squares = definition(features, features).fill_diagonal_(torch.inf).sort(1).values
    found = squared_radii(features, (3, 1, 40, 99))
    assert sorted(found) == [1, 3, 40, 99]
    for k, radii in found.items():
        torch.testing.assert_close(radii, squares[:, k - 1], rtol=1e-12, atol=0)
    # where not all are candidates
    few = squared_radii(features, (3, 1))
    assert all(torch.equal(few[k], found[k]) for k in few)


def test_a_copy_is_a_neighbor_and_an_image_itself_is_none():
    features = torch.tensor([[0.0], [0.0], [3.0], [7.0]])
    assert squared_radii(features, [1])[1].tolist() == [0, 0, 9, 16]
    assert squared_radii(features, [2])[2].tolist() == [9, 9, 9, 49]


@pytest.mark.parametrize('kind', SETS)
def test_nearest_is_that_of_sorted_differences(rng, kind, block_size):
    queries, points = SETS[kind](rng(0)), SETS[kind](rng(1))[:70]
    for first, second in ((queries, points), (points, queries), (queries, queries)):
        squares = definition(first, second)
        found = nearest(first, second)
        torch.testing.assert_close(found.distance, squares.amin(1).sqrt(), rtol=1e-12, atol=0)
        reached = squares.gather(1, found.indices[:, None])[:, 0].sqrt()
        torch.testing.assert_close(found.distance, reached, rtol=1e-12, atol=0)


def test_the_copied_image_is_found_among_near_copies_far_from_the_origin(rng):
    points = clumps(rng(0), 300, 1e-2, 2e3)
    order = torch.from_numpy(rng(1).permutation(300))
    queries = points[order].clone()
    queries[:, 0] += 2**-11  # far less than to the next copy
    found = nearest(queries, points)
    assert torch.equal(found.indices, order)
    assert found.distance.tolist() == pytest.approx([2**-11] * 300)
    # what the expansion in float32 would have said
    plain = torch.cdist(queries, points, compute_mode='use_mm_for_euclid_dist').argmin(1)
    assert not torch.equal(plain, order)


def test_float64_is_asked_only_where_float32_does_not_settle_it(rng, monkeypatch):
    asked = []

    class Spied(squared_distances.SquaredDistances):
        def bounds(self, rows, columns):
            asked.append((self.dtype, len(rows)))
            return super().bounds(rows, columns)

    monkeypatch.setattr(module, 'SquaredDistances', Spied)
    squared_radii(SETS['plain'](rng(0)), (3,))
    assert asked == [(torch.float32, 100)]
    asked.clear()
    features = torch.cat([SETS['plain'](rng(0)), 10 + clumps(rng(1), 100, 1e-5, 0)])
    squared_radii(features, (3,))
    assert asked == [(torch.float32, 200), (torch.float64, 100)]


def test_a_set_without_a_point_is_refused():
    with pytest.raises(ValueError, match='points holds 0'):
        nearest(torch.zeros(3, 2), torch.zeros(0, 2))
