import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from disp_plugin.models import PriorNormalizer
from tests.numerics import assert_close_to_scale

D = 6


def make_priors(num=50):
    """ReLU-like priors: positive, correlated, far from centered."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.maximum(rng.normal(1, 1, (num, D)) @ rng.normal(1, 1, (D, D)), 0))


def fitted(mode, priors, **options):
    normalizer = PriorNormalizer(D, mode, **options)
    normalizer.fit(priors)
    return normalizer


@pytest.mark.parametrize('mode', ['none', 'l2', 'centered_l2'])
def test_simple_modes_are_their_formulas(mode):
    priors = make_priors()
    mean = priors.numpy().mean(axis=0)
    actual = fitted(mode, priors)(priors[:5])
    for row, prior in zip(actual, priors[:5].numpy(), strict=True):
        shifted = prior - mean if mode == 'centered_l2' else prior
        factor = 1 if mode == 'none' else np.sqrt(D) / np.sqrt((shifted**2).sum())
        assert_close_to_scale(row, torch.from_numpy(shifted * factor))
    assert actual.dtype == torch.float32


def test_whitened_priors_have_the_identity_as_covariance():
    priors = make_priors(2000)
    white = fitted('whitened', priors)(priors).double().numpy()
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-4)
    assert_close_to_scale(np.cov(white.T), np.eye(D), dtype=torch.float32)


def test_whitening_of_fewer_images_than_dimensions_stays_in_their_span():
    priors = make_priors(4)
    white = fitted('whitened', priors)(priors).double().numpy()
    pca = PCA(whiten=True).fit(priors.numpy())
    expected = pca.transform(priors.numpy())[:, :3] @ pca.components_[:3] * np.sqrt(D / 3)
    assert_close_to_scale(white, expected, dtype=torch.float32)
    assert np.isfinite(white).all()


@pytest.mark.parametrize('mode', ['l2', 'centered_l2', 'whitened'])
def test_a_length_changes_nothing_but_the_length(mode):
    priors = make_priors(500)
    short, usual = (fitted(mode, priors, **kw)(priors) for kw in (dict(length=0.5), {}))
    assert short.norm(dim=1).pow(2).mean().sqrt() == pytest.approx(0.5, rel=0.01)
    assert_close_to_scale(short * (D**0.5 / 0.5), usual)


@pytest.mark.parametrize('mode', ['none', 'l2', 'centered_l2', 'whitened'])
def test_statistics_travel_in_the_state_dict(mode):
    priors = make_priors()
    normalizer = fitted(mode, priors)
    other = PriorNormalizer(D, mode)
    other.load_state_dict(normalizer.state_dict(), strict=True)
    assert other.is_fitted
    assert torch.equal(other(priors), normalizer(priors))


def test_views_of_an_image_count_as_priors():
    priors = make_priors(50)
    flat, views = fitted('centered_l2', priors), fitted('centered_l2', priors.view(25, 2, D))
    assert torch.equal(flat.mean, views.mean)


def test_using_it_before_fitting_is_refused():
    with pytest.raises(RuntimeError, match="prior_norm='centered_l2' needs the statistics"):
        PriorNormalizer(D, 'centered_l2')(torch.zeros(1, D))


def test_priors_that_are_all_alike_are_refused():
    with pytest.raises(ValueError, match='its 3 priors are all the same'):
        fitted('centered_l2', torch.ones(3, D))


def test_unknown_mode_and_wrong_length_are_refused():
    with pytest.raises(ValueError, match="prior_norm is 'L2'; it must be one of none, l2"):
        PriorNormalizer(D, 'L2')
    with pytest.raises(ValueError, match="prior_length is 2.0, but prior_norm='none' leaves"):
        PriorNormalizer(D, length=2.0)
    for length in (0, -1.0, float('nan'), float('inf')):
        with pytest.raises(ValueError, match='prior_length must be positive and finite'):
            PriorNormalizer(D, 'l2', length=length)
    with pytest.raises(ValueError, match='prior_dim is 6 but the priors to fit have length 7'):
        fitted('l2', torch.ones(3, 7))


def test_mixed_precision_does_not_reach_the_normalization():
    priors = make_priors()
    normalizer = fitted('whitened', priors)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        mixed = normalizer(priors)
    assert mixed.dtype == torch.float32 and torch.equal(mixed, normalizer(priors))
