"""KID against a double loop, clean-fid and torch-fidelity, and repeated draws."""

import numpy as np
import pytest
import torch

from disp_plugin.evaluation.metrics import distances as module
from disp_plugin.evaluation.metrics.distances import kernel_distance


def features(rng, num, dim=12, scale=1.0):
    return torch.from_numpy((rng.normal(size=(num, dim)) * scale + 0.3).astype(np.float32))


def naive(first, second):
    """The definition, pair by pair in float64."""
    first, second = first.double().numpy(), second.double().numpy()

    def kernel(x, y):
        return (float(np.dot(x, y)) / len(x) + 1) ** 3

    def own(points):
        pairs = [(i, j) for i in range(len(points)) for j in range(len(points)) if i != j]
        return np.mean([kernel(points[i], points[j]) for i, j in pairs])

    cross = np.mean([kernel(x, y) for x in first for y in second])
    return own(first) - 2 * cross + own(second)


@pytest.mark.parametrize(('num', 'num_reference'), [(30, 21), (2, 2), (3, 40)])
@pytest.mark.parametrize('block', [2048, 8])
def test_distance_is_the_definition(rng, monkeypatch, num, num_reference, block):
    monkeypatch.setattr(module, 'KERNEL_BLOCK', block)
    generated, reference = features(rng(0), num), features(rng(1), num_reference, scale=1.2)
    found = kernel_distance(generated, reference).value
    assert found == pytest.approx(naive(generated, reference), rel=1e-10)


def test_distance_is_that_of_clean_fid_and_torch_fidelity(rng):
    clean_fid = pytest.importorskip('cleanfid.fid')
    fidelity = pytest.importorskip('torch_fidelity.metric_kid')
    generated, reference = (features(rng(seed), 60, scale=1 + seed).double() for seed in (0, 1))
    # one subset that is the whole set leaves nothing to chance
    theirs = clean_fid.kernel_distance(generated.numpy(), reference.numpy(), num_subsets=1)
    assert kernel_distance(generated, reference).value == pytest.approx(theirs, rel=1e-10)
    options = dict(kid_subsets=1, kid_subset_size=60, verbose=False)
    theirs = fidelity.kid_features_to_metric(generated, reference, **options)
    mean = theirs['kernel_inception_distance_mean']
    assert kernel_distance(generated, reference).value == pytest.approx(mean, rel=1e-10)


def test_equal_sets_and_one_repeated_image(rng):
    reference = features(rng(0), 50)
    twice = kernel_distance(reference, reference)
    # own pairs leave out the diagonal, pairs across do not: a little below 0
    assert twice.value < 0 and twice.value == pytest.approx(naive(reference, reference))
    repeated = reference[:1].expand(20, -1)
    found = kernel_distance(repeated, reference)
    assert found.value == pytest.approx(naive(repeated, reference))
    assert found.standard_deviation == pytest.approx(0, abs=1e-12)
    assert kernel_distance(repeated, repeated).value == pytest.approx(0, abs=1e-12)


def test_deviation_is_that_of_repeated_draws(rng):
    reference = features(rng(0), 200)
    draws = [kernel_distance(features(rng(seed), 80, scale=1.3), reference) for seed in range(200)]
    deviation = np.sqrt(np.mean([draw.standard_deviation**2 for draw in draws]))
    assert deviation == pytest.approx(np.std([draw.value for draw in draws]), rel=0.2)
    assert kernel_distance(reference[:2], reference).standard_deviation is None


def test_deviation_is_the_jackknife_of_sets_without_one_sample(rng):
    generated, reference = features(rng(0), 15), features(rng(1), 20)
    rest = [torch.cat([generated[:i], generated[i + 1 :]]) for i in range(15)]
    values = [naive(each, reference) for each in rest]
    expected = np.sqrt(14 * np.var(values))
    assert kernel_distance(generated, reference).standard_deviation == pytest.approx(expected)


def test_mean_over_draws_of_one_distribution_is_zero(rng):
    values = [
        kernel_distance(features(rng(seed), 20), features(rng(1000 + seed), 30)).value
        for seed in range(200)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / 200**0.5
