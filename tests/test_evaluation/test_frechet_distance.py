"""The Fréchet distance against closed forms, clean-fid, and repeated draws; at every rank."""

import types

import numpy as np
import pytest
import scipy.linalg
import torch

from disp_plugin.evaluation.metrics import distances as module
from disp_plugin.evaluation.metrics.distances import frechet_distance, kernel_distance


@pytest.fixture
def clean_fid(monkeypatch):
    """clean-fid's own function, with the sqrtm of before SciPy 1.18."""
    fid = pytest.importorskip('cleanfid.fid')

    def sqrtm(matrix, disp=True):
        root = scipy.linalg.sqrtm(matrix)
        return root if disp else (root, 0.0)

    monkeypatch.setattr(fid, 'linalg', types.SimpleNamespace(sqrtm=sqrtm))

    def measure(generated, reference):
        moments = []
        for features in (generated, reference):
            features = features.double().numpy()
            moments += [features.mean(axis=0), np.cov(features, rowvar=False)]
        return fid.frechet_distance(*moments)

    return measure


def relu_features(rng, num, dim, shift=0.0):
    """Features as an encoder makes them: correlated, not negative, some of them always 0."""
    factors = rng.normal(size=(num, 24)) @ np.random.default_rng(9).normal(size=(24, dim))
    features = np.maximum(factors + rng.normal(size=(num, dim)) + shift, 0)
    features[:, : dim // 16] = 0
    return torch.from_numpy(features.astype(np.float32))


@pytest.mark.filterwarnings('ignore:Matrix is singular')
@pytest.mark.parametrize(
    ('num', 'num_reference', 'dim'),
    [(400, 300, 64), (50, 300, 64), (300, 50, 64), (50, 40, 256), (2, 2, 32), (2, 300, 64)],
)
def test_distance_is_that_of_clean_fid(clean_fid, rng, num, num_reference, dim):
    generated = relu_features(rng(0), num, dim)
    reference = relu_features(rng(1), num_reference, dim, shift=0.5)
    expected = clean_fid(generated, reference)
    assert frechet_distance(generated, reference).value == pytest.approx(expected, rel=1e-3)


def test_distance_of_gaussians_with_common_axes_is_known(rng):
    # |m - n|^2 + sum (s - t)^2, for standard deviations s and t along common axes
    axes = np.linalg.qr(rng(0).normal(size=(8, 8)))[0]
    scales, shift = rng(1).uniform(0.5, 2, size=(2, 8)), rng(2).normal(size=8)
    points = rng(3).normal(size=(200, 8))
    points -= points.mean(0)
    points @= np.linalg.inv(np.linalg.cholesky(np.cov(points.T)).T)  # covariance exactly 1
    first, second = points * scales[0] @ axes.T, points * scales[1] @ axes.T + shift
    expected = shift @ shift + ((scales[0] - scales[1]) ** 2).sum()
    found = frechet_distance(torch.from_numpy(first), torch.from_numpy(second))
    assert found.value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(('num', 'dim'), [(300, 64), (50, 64), (50, 2048), (2, 2048)])
def test_equal_sets_are_at_no_distance_at_every_rank(rng, num, dim):
    features = relu_features(rng(0), num, dim)
    variance = float(features.double().var(0).sum())
    assert frechet_distance(features, features).value <= 1e-6 * variance
    shifted = frechet_distance(features.double(), features.double() + 1).value
    assert shifted == pytest.approx(dim, rel=1e-6)


@pytest.mark.parametrize('num', [20, 200])
def test_one_repeated_image_leaves_means_and_the_other_variance(rng, num):
    repeated = relu_features(rng(0), 1, 32).expand(num, -1)
    reference = relu_features(rng(1), 90, 32).double()
    expected = float((repeated[0] - reference.mean(0)).square().sum() + reference.var(0).sum())
    assert frechet_distance(repeated, reference).value == pytest.approx(expected)
    assert frechet_distance(repeated, repeated[:5]).value == pytest.approx(0, abs=1e-9)


def test_sets_without_a_common_axis_share_nothing(rng):
    first, second = torch.zeros(40, 100), torch.zeros(40, 100)
    first[:, :50] = relu_features(rng(0), 40, 50)
    second[:, 50:] = relu_features(rng(1), 40, 50)
    expected = (first.double().mean(0) - second.double().mean(0)).square().sum()
    expected += first.double().var(0).sum() + second.double().var(0).sum()
    assert frechet_distance(first, second).value == pytest.approx(float(expected), rel=1e-9)


def test_means_far_from_the_origin_cost_no_digits(rng):
    generated, reference = rng(0).normal(size=(2, 100, 16))
    near = frechet_distance(torch.from_numpy(generated), torch.from_numpy(reference))
    far = frechet_distance(torch.from_numpy(generated + 1e5), torch.from_numpy(reference + 1e5))
    assert far.value == pytest.approx(near.value, rel=1e-7)


@pytest.mark.parametrize(('num', 'tolerance'), [(120, 0.25), (600, 0.1)])
def test_deviation_is_that_of_repeated_draws(rng, num, tolerance):
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
    generated, reference = relu_features(rng(0), 210, 32), relu_features(rng(1), 150, 32)
    whole = frechet_distance(generated, reference)
    monkeypatch.setattr(module, 'GAUSSIAN_BLOCK', 64)
    assert frechet_distance(generated, reference) == pytest.approx(whole, rel=1e-9)


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
