"""Fréchet and kernel distance: definitions in float64, other libraries, repeated draws."""

import types

import numpy as np
import pytest
import scipy.linalg
import torch

from disp_plugin.evaluation.metrics import distances
from disp_plugin.evaluation.metrics.distances import frechet_distance, kernel_distance

EPS = np.finfo(float).eps


def relu_features(rng, num, dim, shift=0.0):
    """Features as an encoder makes them: correlated, not negative, some of them always 0."""
    factors = rng.normal(size=(num, 24)) @ np.random.default_rng(9).normal(size=(24, dim))
    features = np.maximum(factors + rng.normal(size=(num, dim)) + shift, 0)
    features[:, : dim // 16] = 0
    return torch.from_numpy(features.astype(np.float32))


def pair(rng, num, num_reference, dim):
    return relu_features(rng(0), num, dim), relu_features(rng(1), num_reference, dim, shift=0.5)


def apart(rng):
    """Sets without a common axis."""
    first, second = torch.zeros(40, 100), torch.zeros(40, 100)
    first[:, :50], second[:, 50:] = relu_features(rng(0), 40, 50), relu_features(rng(1), 40, 50)
    return first, second


PAIRS = {
    'full rank': lambda rng: pair(rng, 400, 300, 64),
    'few generated': lambda rng: pair(rng, 50, 300, 64),
    'few real': lambda rng: pair(rng, 300, 50, 64),
    'few of both': lambda rng: pair(rng, 50, 40, 256),
    'two of both': lambda rng: pair(rng, 2, 2, 32),
    'one repeated': lambda rng: (
        relu_features(rng(0), 1, 32).expand(200, -1),
        relu_features(rng(1), 90, 32),
    ),
    'equal': lambda rng: (relu_features(rng(0), 300, 64),) * 2,
    'equal and few': lambda rng: (relu_features(rng(0), 50, 512),) * 2,
    'apart': apart,
}


@pytest.mark.parametrize('kind', PAIRS)
def test_frechet_distance_is_its_formula(rng, kind):
    generated, reference = PAIRS[kind](rng)
    sets = generated.double().numpy(), reference.double().numpy()
    first, second = (np.cov(each, rowvar=False) for each in sets)
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    # the eigenvalues of A B, of a symmetric matrix that has the same
    common = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    shift = np.square(sets[0].mean(0) - sets[1].mean(0)).sum()
    scale = shift + np.trace(first) + np.trace(second)
    # an eigenvalue that should be 0 is off by eps; its root is off by more
    bound = len(first) * np.sqrt(len(first) * EPS) * scale
    found = frechet_distance(generated, reference).value
    assert found == pytest.approx(scale - 2 * common, abs=bound)
    if kind.startswith('equal'):
        assert found <= len(first) ** 2 * EPS * scale


def test_frechet_distance_is_that_of_clean_fid(rng, monkeypatch):
    fid = pytest.importorskip('cleanfid.fid')

    def sqrtm(matrix, disp=True):  # as before SciPy 1.18
        root = scipy.linalg.sqrtm(matrix)
        return root if disp else (root, 0.0)

    monkeypatch.setattr(fid, 'linalg', types.SimpleNamespace(sqrtm=sqrtm))
    sets = rng(0).normal(size=(400, 16)), rng(1).normal(size=(300, 16)) * 2 + 1
    moments = [each for x in sets for each in (x.mean(0), np.cov(x, rowvar=False))]
    found = frechet_distance(*map(torch.from_numpy, sets)).value
    assert found == pytest.approx(fid.frechet_distance(*moments), rel=1e-9)


def test_means_far_from_the_origin_cost_no_digits(rng):
    generated, reference = map(torch.from_numpy, rng(0).normal(size=(2, 100, 16)))
    near = frechet_distance(generated, reference)
    far = frechet_distance(generated + 1e5, reference + 1e5)
    assert far.value == pytest.approx(near.value, rel=1e-7)


@pytest.mark.parametrize(('num', 'tolerance'), [(120, 0.25), (600, 0.1)])
def test_deviation_of_the_frechet_distance_is_that_of_repeated_draws(rng, num, tolerance):
    shape, other = rng(0).normal(size=(2, 6, 6))
    reference = torch.from_numpy(rng(1).normal(size=(800, 6)) @ (shape + 0.3 * other) + 0.2)
    draws = [
        frechet_distance(torch.from_numpy(rng(seed).normal(size=(num, 6)) @ shape), reference)
        for seed in range(2, 302)
    ]
    deviation = np.mean([draw.standard_deviation for draw in draws])
    assert deviation == pytest.approx(np.std([draw.value for draw in draws]), rel=tolerance)


def test_deviation_is_not_claimed_where_samples_do_not_span_the_space(rng):
    features = relu_features(rng(0), 33, 32)
    assert frechet_distance(features, features[:20]).standard_deviation is not None
    assert frechet_distance(features[:32], features).standard_deviation is None


def test_blocks_add_up(rng, monkeypatch):
    generated, reference = pair(rng, 210, 150, 32)
    whole = frechet_distance(generated, reference)
    monkeypatch.setattr(distances, 'GAUSSIAN_BLOCK', 64)
    assert frechet_distance(generated, reference) == pytest.approx(whole, rel=1e-9)


def naive_kernel_distance(first, second):
    """The definition, pair by pair in float64."""

    def kernels(x, y):
        return (np.array([[np.dot(p, q) for q in y] for p in x]) / len(x[0]) + 1) ** 3

    def own(points):
        return kernels(points, points)[~np.eye(len(points), dtype=bool)].mean()

    first, second = first.double().numpy(), second.double().numpy()
    return own(first) - 2 * kernels(first, second).mean() + own(second)


@pytest.mark.parametrize('kind', ['two of both', 'one repeated', 'apart', 'few of both'])
@pytest.mark.parametrize('block', [2048, 8])
def test_kernel_distance_is_its_definition(rng, monkeypatch, kind, block):
    monkeypatch.setattr(distances, 'KERNEL_BLOCK', block)
    generated, reference = PAIRS[kind](rng)
    found = kernel_distance(generated, reference)
    assert found.value == pytest.approx(naive_kernel_distance(generated, reference), rel=1e-9)
    assert (found.standard_deviation is None) == (kind == 'two of both')


def test_kernel_distance_is_that_of_clean_fid_and_torch_fidelity(rng):
    clean_fid = pytest.importorskip('cleanfid.fid')
    fidelity = pytest.importorskip('torch_fidelity.metric_kid')
    generated, reference = (x.double() for x in pair(rng, 60, 60, 32))
    found = kernel_distance(generated, reference).value
    # one subset that is the whole set leaves nothing to chance
    theirs = clean_fid.kernel_distance(generated.numpy(), reference.numpy(), num_subsets=1)
    assert found == pytest.approx(theirs, rel=1e-9)
    options = dict(kid_subsets=1, kid_subset_size=60, verbose=False)
    theirs = fidelity.kid_features_to_metric(generated, reference, **options)
    assert found == pytest.approx(theirs['kernel_inception_distance_mean'], rel=1e-9)


def test_deviation_of_the_kernel_distance_is_that_of_sets_without_one_sample(rng):
    generated, reference = pair(rng, 15, 20, 32)
    rest = [torch.cat([generated[:i], generated[i + 1 :]]) for i in range(15)]
    values = [naive_kernel_distance(each, reference) for each in rest]
    expected = np.sqrt(14 * np.var(values))
    assert kernel_distance(generated, reference).standard_deviation == pytest.approx(expected)


@pytest.mark.parametrize(
    ('features', 'message'),
    [
        (torch.zeros(1, 4), r'generated holds 1 feature\(s\), at least 2 are needed'),
        (torch.zeros(5, 3), 'differ in width .generated 3, reference 4.'),
        (torch.zeros(5), 'generated must be floating point features .N, F., but is'),
        (torch.zeros(5, 4, dtype=torch.int64), 'int64'),
        (torch.tensor([[0.0, 1, 2, 3], [0, torch.nan, 0, 0]]), 'generated holds values that are'),
        (torch.tensor([[0.0, 1, 2, 3], [0, -torch.inf, 0, 0]]), 'generated holds values that are'),
    ],
)
@pytest.mark.parametrize('measure', [frechet_distance, kernel_distance])
def test_unfit_features_are_refused(measure, features, message):
    with pytest.raises(ValueError, match=message):
        measure(features, torch.zeros(5, 4))
