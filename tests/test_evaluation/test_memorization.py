"""C_T against a double loop and scipy's Mann-Whitney test, and where its sign must be plain."""

import numpy as np
import pytest
import scipy.stats
import torch

from disp_plugin.evaluation.metrics.distances import frechet_distance, kernel_distance
from disp_plugin.evaluation.metrics.memorization import (
    choose_num_cells,
    data_copying,
    divide,
    memorization_floor,
    rank_statistic,
)


def draw(rng, num, dim=6, scale=1.0):
    return torch.from_numpy((scale * rng.normal(size=(num, dim))).astype(np.float32))


def naive(generated, train, held_out, cells):
    """The definition, pair by pair in float64."""
    train_cells, generated_cells, held_out_cells = (each.numpy() for each in cells)
    train, generated, held_out = (x.double().numpy() for x in (train, generated, held_out))

    def distances(points, members):
        return [min(np.linalg.norm(point - member) for member in members) for point in points]

    total = weight = used = 0
    for cell in np.unique(train_cells):
        members = train[train_cells == cell]
        near = distances(generated[generated_cells == cell], members)
        unseen = distances(held_out[held_out_cells == cell], members)
        m, n = len(near), len(unseen)
        if m / len(generated) <= 20 / len(generated) or n == 0:
            continue
        u = sum((q > p) + (q == p) / 2 for q in near for p in unseen)
        z = (u - (n * m / 2 - 0.5)) / np.sqrt(n * m * (n + m + 1) / 12)
        total, weight, used = total + n / len(held_out) * z, weight + n / len(held_out), used + 1
    return total / weight, used


def test_statistic_is_the_definition(rng):
    train, held_out = draw(rng(0), 90), draw(rng(1), 70)
    generated = torch.cat([train[:40], draw(rng(2), 80, scale=1.2)])  # with exact copies
    found = data_copying(generated, train, held_out, num_cells=5, num_trials=3, seed=4)
    expected = [
        naive(generated, train, held_out, divide(train, (generated, held_out), 5, seed))
        for seed in (4, 5, 6)
    ]
    values, used = zip(*expected, strict=True)
    assert found.trials == pytest.approx(values)
    assert found.value == pytest.approx(np.mean(values))
    assert found.standard_deviation == pytest.approx(np.std(values, ddof=1))
    assert found.num_cells == 5 and found.used_cells == pytest.approx(np.mean(used))
    assert min(used) < 5  # some cell was too small


def test_ranks_are_those_of_scipy(rng):
    first, second = rng(0).integers(0, 9, size=40) / 4, rng(1).integers(2, 12, size=30) / 4
    found = rank_statistic(torch.from_numpy(first), torch.from_numpy(second))
    u = scipy.stats.mannwhitneyu(first, second).statistic
    assert found == pytest.approx((u - (600 - 0.5)) / np.sqrt(1200 * 71 / 12))
    # without ties its tail probability is scipy's, too
    first, second = rng(2).normal(size=40), rng(3).normal(size=30) + 0.3
    found = rank_statistic(torch.from_numpy(first), torch.from_numpy(second))
    theirs = scipy.stats.mannwhitneyu(first, second, alternative='less', method='asymptotic')
    assert scipy.stats.norm.cdf(found) == pytest.approx(theirs.pvalue, rel=1e-6)


def test_near_copies_far_from_the_origin_are_copies(rng):
    train, held_out = draw(rng(0), 200) + 1e4, draw(rng(1), 200) + 1e4
    copies = train[:150].clone()
    copies[:, 0] += 2**-8
    moved = data_copying(copies, train, held_out).value
    assert moved < -3
    assert moved == pytest.approx(data_copying(train[:150], train, held_out).value, abs=0.01)


def test_clustering_is_that_of_the_seed(rng):
    sets = [draw(rng(seed), 200) for seed in range(3)]
    first, again, other = (data_copying(*sets, num_cells=4, seed=seed) for seed in (1, 1, 7))
    assert first == again and first.trials != other.trials
    assert first.trials[1] == data_copying(*sets, num_cells=4, seed=2).trials[0]
    single = data_copying(*sets, num_cells=1, num_trials=1)
    assert single.standard_deviation is None and single.used_cells == 1


@pytest.mark.parametrize(
    ('sizes', 'cells'),
    [((1000, 100, 100), 2), ((1000, 40, 40), 1), ((1000, 1000, 794), 20), ((200, 9999, 9999), 4)],
)
def test_few_images_get_few_cells(sizes, cells):
    assert choose_num_cells(*sizes) == cells


def test_cells_without_enough_images_are_refused(rng):
    train, held_out = draw(rng(0), 100), draw(rng(1), 100)
    with pytest.raises(ValueError, match='none of the 1 cells holds more than 20 of the 20 gen'):
        data_copying(train[:20], train, held_out)
    assert data_copying(train[:21], train, held_out).used_cells == 1
    with pytest.raises(ValueError, match='between 1 and the 100 training images.*101 and 5'):
        data_copying(train, train, held_out, num_cells=101)
    with pytest.raises(ValueError, match='held_out holds 0'):
        data_copying(train, train, held_out[:0])
    with pytest.raises(ValueError, match='num must be at least 2 images in a draw, but is 1'):
        memorization_floor(train, held_out, 1)


@pytest.mark.parametrize(('num_train', 'num'), [(30, 200), (200, 25)])
@pytest.mark.parametrize('dim', [8, 64])
def test_floor_is_the_distance_of_repeated_images(rng, num_train, num, dim):
    train, held_out = draw(rng(0), num_train, dim), draw(rng(1), 50, dim)
    floor = memorization_floor(train, held_out, num, seed=3)
    generator = torch.Generator().manual_seed(3)
    draws = [train[torch.randint(num_train, (num,), generator=generator)] for _ in range(5)]
    for name, measure in (('fid', frechet_distance), ('kid', kernel_distance)):
        values = [measure(drawn, held_out).value for drawn in draws]
        assert floor[name].value == pytest.approx(np.mean(values))
        assert floor[name].standard_deviation == pytest.approx(np.std(values, ddof=1))


def test_draws_are_those_of_the_seed(rng):
    train, held_out = draw(rng(0), 30, 8), draw(rng(1), 50, 8)
    first, again, other = (memorization_floor(train, held_out, 60, seed) for seed in (0, 0, 1))
    assert first == again and first['fid'] != other['fid'] and first['kid'] != other['kid']
