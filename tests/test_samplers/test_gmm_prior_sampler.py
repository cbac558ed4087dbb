"""Mixtures and cluster centers: draws follow what was fitted, and bad banks are refused."""

import os
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from disp_plugin.priors import PriorBank
from disp_plugin.samplers import GMMPriorSampler, KMeansPriorSampler, reported_mixture
from disp_plugin.samplers.gmm_prior_sampler import start_mixture
from tests.numerics import assert_close_to_scale

KINDS = ['diag', 'spherical', 'tied', 'full']


class Bank:
    """The part of a PriorBank that samplers read, without its checks and copies."""

    def __init__(self, priors):
        self.priors = priors
        self.num_images, self.prior_dim = priors.shape
        self.keys = BANK.keys
        self.rows_read = []

    def take(self, rows):
        self.rows_read.append(rows)
        return self.priors[rows]


def make_bank(priors):
    priors = torch.as_tensor(np.asarray(priors), dtype=torch.float32)
    return PriorBank([f'{row:05d}.png' for row in range(len(priors))], priors[:, None])


def blobs(num=1500, seed=0):
    """Three blobs of unlike shape and weight in eight correlated dimensions."""
    rng = np.random.default_rng(seed)
    sizes = [num // 2, num // 3, num - num // 2 - num // 3]
    centers, widths = [[5, 0, 1], [-5, 2, 0], [0, -6, 3]], [[1, 1, 1], [0.5, 2, 1], [2, 0.3, 0.6]]
    latent = np.concatenate(
        [rng.normal(c, w, (n, 3)) for n, c, w in zip(sizes, centers, widths, strict=True)]
    )
    mix = np.random.default_rng(7).normal(size=(3, 8))
    return (latent @ mix + 0.1 * rng.normal(size=(num, 8)) + 2).astype(np.float32)


BLOBS = blobs()
BANK = make_bank(BLOBS)


def seed(value=0):
    return torch.Generator().manual_seed(value)


def as_sklearn(sampler):
    """The fitted mixture as scikit-learn's own class, in float64."""
    kind = sampler.covariance_type
    scales = sampler.scales.double().numpy()
    if kind in ('diag', 'spherical'):
        covariances = scales**2
    else:
        covariances = scales @ np.swapaxes(scales, -1, -2)
    mixture = GaussianMixture(sampler.num_components, covariance_type=kind)
    mixture.weights_ = sampler.weights.double().numpy()
    mixture.means_ = sampler.means.double().numpy()
    mixture.covariances_ = covariances
    if kind in ('diag', 'spherical'):
        mixture.precisions_cholesky_ = 1 / scales
    else:
        mixture.precisions_cholesky_ = np.swapaxes(np.linalg.inv(scales), -1, -2)
    return mixture


@pytest.mark.parametrize('kind', KINDS)
def test_a_mixture_is_as_likely_on_held_out_priors_as_scikit_learns_own(kind):
    sampler = GMMPriorSampler(3, kind, pca_variance=None, regularization=1e-6, tol=1e-7)
    sampler.fit(BANK)
    held_out = blobs(seed=1)
    own = GaussianMixture(3, covariance_type=kind, random_state=0, tol=1e-6, max_iter=500)
    own.fit(BLOBS.astype(np.float64))
    ours = as_sklearn(sampler).score(held_out - sampler.mean.numpy())
    assert ours == pytest.approx(own.score(held_out), abs=0.02)


@pytest.mark.parametrize('kind', ['diag', 'spherical'])
@pytest.mark.parametrize('max_density', [0, 1], ids=['dense', 'sparse'])
def test_em_in_blocks_is_scikit_learns_own_in_float64(monkeypatch, kind, max_density):
    monkeypatch.setattr(reported_mixture, 'E_STEP_ROWS', 400)  # the last block is a smaller one
    monkeypatch.setattr(reported_mixture, 'MAX_DENSITY', max_density)
    sampler = GMMPriorSampler(6, kind, pca_variance=None, max_iters=4, tol=1e-12)
    sampler.fit(BANK)
    points = BLOBS - sampler.mean.numpy()
    reg_covar = 0.01 * float(np.square(points, dtype=np.float64).mean())
    labels = sampler.cluster(points, 0)
    start = start_mixture(points, labels, 6, kind, reg_covar)
    start = {name: part.astype(np.float64) for name, part in start.items()}
    start['weights_init'] /= start['weights_init'].sum()
    own = GaussianMixture(6, covariance_type=kind, reg_covar=reg_covar, tol=0, max_iter=4, **start)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', ConvergenceWarning)
        own.fit(points.astype(np.float64))
    assert_close_to_scale(sampler.weights, own.weights_)
    assert_close_to_scale(sampler.means, own.means_)
    assert_close_to_scale(sampler.scales, np.sqrt(own.covariances_))


@pytest.mark.parametrize('kind', KINDS)
def test_draws_follow_the_fitted_mixture_as_scikit_learns_own_sampler_does(kind):
    sampler = GMMPriorSampler(3, kind, pca_variance=None)
    sampler.fit(BANK)
    drawn = sampler.sample(20_000, seed()).numpy() - sampler.mean.numpy()
    mixture = as_sklearn(sampler)
    mixture.random_state = 1
    theirs = mixture.sample(20_000)[0]
    scale = theirs.std(0)
    np.testing.assert_allclose(drawn.mean(0) / scale, theirs.mean(0) / scale, atol=0.05)
    np.testing.assert_allclose(
        np.cov(drawn.T) / np.outer(scale, scale),
        np.cov(theirs.T) / np.outer(scale, scale),
        atol=0.05,
    )
    assert mixture.score(drawn) == pytest.approx(mixture.score(theirs), abs=0.06)
    fractions = np.bincount(mixture.predict(drawn), minlength=3) / len(drawn)
    np.testing.assert_allclose(fractions, mixture.weights_, atol=0.02)


def test_principal_axes_are_those_of_scikit_learn_and_the_rest_is_noise_of_its_variance():
    rng = np.random.default_rng(0)
    priors = rng.normal(size=(4000, 10)) * ([5, 4, 3] + [0.5] * 7) + 1
    bank = make_bank(priors)
    sampler = GMMPriorSampler(2, pca_variance=0.9, regularization=1e-6)
    sampler.fit(bank)
    reference = PCA(0.9, svd_solver='full').fit(priors)
    assert sampler.basis.shape == reference.components_.shape == (3, 10)
    overlap = np.abs(sampler.basis.numpy() @ reference.components_.T)
    np.testing.assert_allclose(overlap, np.eye(3), atol=0.01)
    drawn = sampler.sample(20_000, seed()).numpy()
    np.testing.assert_allclose(drawn.mean(0), priors.mean(0), atol=0.12)
    np.testing.assert_allclose(drawn.std(0), priors.std(0), rtol=0.05)
    rest = drawn - sampler.mean.numpy()
    rest = rest - rest @ sampler.basis.numpy().T @ sampler.basis.numpy()
    assert (rest**2).sum(1).mean() == pytest.approx(7 * 0.5**2, rel=0.05)


def test_fewer_priors_than_dimensions_keep_their_spread():
    rng = np.random.default_rng(0)
    priors = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 400)) * 3 + rng.normal(size=(60, 400))
    sampler = GMMPriorSampler(2, pca_variance=0.9, regularization=1e-6)
    sampler.fit(make_bank(priors))
    drawn = sampler.sample(5000, seed()).numpy()
    assert drawn.var(0).sum() == pytest.approx(priors.var(0).sum(), rel=0.1)


def test_centers_are_means_of_clusters_drawn_as_often_as_they_are_large():
    rng = np.random.default_rng(0)
    corners = np.array([[10, 0, 0], [0, 10, 0], [0, 0, 10], [-10, 0, 0]])
    labels = rng.choice(4, 2000, p=[0.4, 0.3, 0.2, 0.1])
    priors = corners[labels] + rng.normal(size=(2000, 3))
    for pca_variance in (None, 1.0):
        sampler = KMeansPriorSampler(4, pca_variance=pca_variance)
        sampler.fit(make_bank(priors))
        drawn = sampler.sample(5000, seed()).numpy()
        want = np.array([priors[labels == label].mean(0) for label in range(4)])
        nearest = np.square(drawn[:, None] - want).sum(2).argmin(1)
        assert_close_to_scale(drawn, want[nearest], num_terms=1000)
        fractions = np.bincount(nearest, minlength=4) / len(drawn)
        np.testing.assert_allclose(fractions, np.bincount(labels) / 2000, atol=0.03)


@pytest.mark.parametrize('make', [GMMPriorSampler, KMeansPriorSampler])
class TestBothSamplers:
    def test_the_same_seed_fits_and_draws_the_same(self, make):
        first, second, other = make(5, seed=1), make(5, seed=1), make(5, seed=2)
        for sampler in (first, second, other):
            sampler.fit(BANK)
        assert torch.equal(first.sample(9, seed()), second.sample(9, seed()))
        assert not torch.equal(first.sample(9, seed()), other.sample(9, seed()))
        assert not torch.equal(first.sample(9, seed()), first.sample(9, seed(1)))

    def test_state_travels_in_a_state_dict(self, make):
        fitted = make(5)
        fitted.fit(BANK)
        loaded = make(5)
        loaded.load_state_dict(fitted.state_dict())
        assert loaded.is_fitted
        assert torch.equal(loaded.sample(9, seed()), fitted.sample(9, seed()))
        assert not make(5).is_fitted and make(5).fits_late

    def test_the_subset_is_random_and_no_larger_than_asked_for(self, make):
        bank = Bank(BLOBS)
        make(5, fit_subset=100, seed=3).fit(bank)
        rows = np.unique(np.concatenate(bank.rows_read))
        assert len(rows) == 100 and not np.array_equal(rows, np.arange(100))

    def test_more_components_than_priors_are_refused_with_a_way_out(self, make):
        with pytest.raises(
            ValueError, match=r'21 components to the 20 priors.*num_components to 2'
        ):
            make(21).fit(make_bank(BLOBS[:20]))

    def test_a_prior_that_is_not_finite_names_its_image(self, make):
        priors = BLOBS.copy()
        priors[7, 3] = np.nan
        altered = Bank(priors)
        with pytest.raises(ValueError, match=r"(?s)image '00007.png' in .* is not finite"):
            make(5).fit(altered)

    def test_equal_priors_are_refused(self, make):
        with pytest.raises(ValueError, match='all 50 priors .* are equal'):
            make(2).fit(make_bank(np.ones((50, 4))))

    def test_duplicates_and_constant_dimensions_are_fitted(self, make):
        priors = np.repeat(np.random.default_rng(0).normal(size=(6, 5)), 20, axis=0)
        priors[:, 2] = 3
        sampler = make(8)
        sampler.fit(make_bank(priors))
        drawn = sampler.sample(200, seed())
        assert drawn.isfinite().all()
        assert drawn[:, 2].mean() == pytest.approx(3, abs=0.1)

    @pytest.mark.parametrize(
        ('options', 'message'),
        [
            (dict(num_components=0), 'at least 1 component'),
            (dict(num_components=10, fit_subset=9), '10 components to a subset of 9'),
            (dict(pca_variance=1.5), r'in \(0, 1\]'),
        ],
    )
    def test_impossible_options_are_refused(self, make, options, message):
        with pytest.raises(ValueError, match=message):
            make(**options)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(covariance_type='round'), "diag, spherical, tied, full, but is 'round'"),
        (dict(regularization=0), 'regularization must be positive'),
        (dict(max_iters=0), 'at least 1'),
        (dict(tol=0), 'tol positive'),
    ],
)
def test_impossible_mixtures_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GMMPriorSampler(**options)


def test_the_likeliest_of_several_starts_is_kept(monkeypatch):
    one = [GMMPriorSampler(6, seed=s, pca_variance=None, max_iters=3) for s in range(4)]
    for sampler in one:
        sampler.fit(BANK)
    best = GMMPriorSampler(6, num_starts=4, pca_variance=None, max_iters=3)
    best.fit(BANK)
    scores = [as_sklearn(s).score(BLOBS - BLOBS.mean(0)) for s in one]
    mine = as_sklearn(best).score(BLOBS - BLOBS.mean(0))
    assert mine == pytest.approx(max(scores), abs=1e-3) and max(scores) > min(scores) + 1e-3


def test_every_em_iteration_is_reported(monkeypatch):
    said = []
    monkeypatch.setattr(MMLogger, 'log', lambda self, level, text, *_: said.append(text))
    GMMPriorSampler(6, max_iters=2, tol=1e-12).fit(BANK)
    assert 'reading priors' in said[0] and 'clustering 1500 x' in said[1]
    assert 'EM iteration 1 of at most 2, stops below' in said[2]
    assert 'EM iteration 2 of at most 2: gained' in said[3]
    assert 'still gained after 2 iterations' in said[4]


@pytest.mark.parametrize(
    'sampler',
    [
        GMMPriorSampler(20, pca_variance=None, max_iters=2),
        GMMPriorSampler(20, max_iters=2),
        GMMPriorSampler(250, pca_variance=None, max_iters=2),
        GMMPriorSampler(250, max_iters=2),
        KMeansPriorSampler(20),
    ],
    ids=['raw', 'axes', 'raw_many', 'axes_many', 'kmeans'],
)
def test_a_fit_takes_at_most_three_times_the_memory_of_its_priors(sampler):
    priors = np.random.default_rng(0).normal(size=(10_000, 512)).astype(np.float32)
    bank = Bank(priors)
    tracemalloc.start()
    sampler.fit(bank)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    model = sampler.num_components * 512 * 4  # a few arrays of that size, small beside real data
    assert peak < 3 * priors.nbytes + 8 * model


ON_TENSORS = """
import sys
import numpy as np, torch
import disp_plugin.samplers
from disp_plugin.priors import PriorBank
from disp_plugin.samplers import GMMPriorSampler
priors = torch.from_numpy(np.load(sys.argv[1]))
bank = PriorBank([f'{row:05d}.png' for row in range(len(priors))], priors[:, None])
samplers = [GMMPriorSampler(3, device=device) for device in (None, 'cpu')]
for sampler in samplers:
    sampler.fit(bank)
torch.save([sampler.state_dict() for sampler in samplers], sys.argv[2])
"""


@pytest.mark.slow
def test_a_fit_on_torch_tensors_is_that_on_arrays(tmp_path, repo_root):
    np.save(tmp_path / 'priors.npy', BLOBS[:300])
    done = subprocess.run(
        [sys.executable, '-c', ON_TENSORS, str(tmp_path / 'priors.npy'), str(tmp_path / 'fits')],
        env={**os.environ, 'SCIPY_ARRAY_API': '1', 'PYTHONPATH': str(repo_root)},
        capture_output=True,
        text=True,
    )
    if 'needs a scikit-learn whose mixtures take torch tensors' in done.stderr:
        pytest.skip('this scikit-learn is older than that')
    assert done.returncode == 0, done.stderr[-2000:]
    on_arrays, on_tensors = torch.load(tmp_path / 'fits', weights_only=True)
    for name, value in on_arrays.items():
        assert_close_to_scale(on_tensors[name], value)


def test_a_device_without_the_array_api_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.delenv('SCIPY_ARRAY_API', raising=False)
    with pytest.raises(RuntimeError, match='needs SCIPY_ARRAY_API=1'):
        GMMPriorSampler(3, device='cpu').fit(BANK)
