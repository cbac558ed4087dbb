"""Draws of training priors and their mixtures follow their laws."""

import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from scipy import stats
from sklearn.neighbors import NearestNeighbors

from disp_plugin.priors import find_neighbors
from disp_plugin.samplers import EmpiricalPriorSampler, PerImageSampler, VicinalMixSampler


class Bank:
    """The part of a PriorBank that samplers read."""

    def __init__(self, priors):
        self.priors = np.asarray(priors, dtype=np.float32)[:, None]
        self.num_images = len(self.priors)

    def take(self, rows):
        return self.priors[rows, 0]


BANK = Bank(np.random.default_rng(0).normal(size=(30, 5)))


def fitted(sampler, bank=BANK):
    sampler.fit(bank)
    return sampler


def seed(value=0):
    return torch.Generator().manual_seed(value)


ALL = [
    dict(type='EmpiricalPriorSampler'),
    dict(type='VicinalMixSampler'),
    dict(type='VicinalMixSampler', alpha=0.4, num_neighbors=3),
]


@pytest.mark.parametrize('config', ALL, ids=str)
class TestEverySampler:
    def test_same_seed_gives_the_same_priors_and_the_global_stream_is_untouched(self, config):
        sampler = fitted(MODELS.build(config))
        before = torch.get_rng_state()
        first = sampler.sample(7, seed())
        assert torch.equal(torch.get_rng_state(), before)
        assert first.shape == (7, 5) and first.dtype == torch.float32
        assert torch.equal(first, sampler.sample(7, seed()))
        assert not torch.equal(first, sampler.sample(7, seed(1)))

    def test_state_dict_carries_all_that_sampling_needs(self, config):
        sampler = fitted(MODELS.build(config))
        other = MODELS.build(config)
        other.load_state_dict(sampler.state_dict(), strict=True)
        assert torch.equal(sampler.sample(9, seed()), other.sample(9, seed()))

    def test_sampling_unfitted_is_refused_with_the_way_out(self, config):
        with pytest.raises(RuntimeError, match=r'is not fitted: PriorSamplerHook fits it'):
            MODELS.build(config).sample(1)

    def test_kept_priors_are_bounded_and_chosen_by_the_seed(self, config):
        kept = [
            fitted(MODELS.build({**config, 'max_priors': 10, 'seed': s})).priors for s in (0, 0, 1)
        ]
        assert len(kept[0]) == 10
        assert torch.equal(kept[0], kept[1]) and not torch.equal(kept[0], kept[2])

    def test_no_prior_at_all_can_be_drawn(self, config):
        assert fitted(MODELS.build(config)).sample(0).shape == (0, 5)


def test_empirical_draws_every_training_prior_equally_often():
    draws = fitted(EmpiricalPriorSampler()).sample(30_000, seed())
    rows = (draws[:, None] == torch.from_numpy(BANK.priors[:, 0])).all(-1)
    assert rows.sum(1).eq(1).all()
    assert stats.chisquare(rows.sum(0).numpy()).pvalue > 1e-3


@pytest.mark.parametrize('alpha', [1.0, 0.3, 4.0])
@pytest.mark.parametrize('is_per_image', [False, True])
def test_mixing_weight_follows_the_beta_law(alpha, is_per_image):
    """With priors on the corners of a triangle the weight is read off the mixture."""
    if is_per_image:
        sampler = PerImageSampler(3, alpha=alpha)
    else:
        sampler = fitted(VicinalMixSampler(alpha), Bank(np.eye(3)))
    draws = sampler.sample(20_000, seed()).numpy()
    np.testing.assert_allclose(draws.sum(axis=1), 1, rtol=1e-5)
    assert ((draws > 1e-6).sum(axis=1) <= 2).all()
    mixed = draws[(draws > 0).sum(axis=1) == 2]
    weights = np.concatenate([mixed[:, 0][mixed[:, 0] > 0], mixed[:, 1][mixed[:, 1] > 0]])
    assert stats.kstest(weights, stats.beta(alpha, alpha).cdf).statistic < 0.02
    same = (draws.max(axis=1) == 1).mean()
    assert same == pytest.approx(1 / 3, abs=0.05 if alpha >= 1 else 0.1)


def test_rows_of_images_need_no_bank_and_are_drawn_equally_often():
    sampler = PerImageSampler(4)
    assert sampler.is_fitted and not sampler.fits_late
    draws = sampler.sample(20_000, seed())
    assert torch.equal(draws, sampler.sample(20_000, seed()))
    assert draws.shape == (20_000, 4) and draws.dtype == torch.float32
    largest = np.bincount(draws.argmax(1), minlength=4)
    assert stats.chisquare(largest).pvalue > 1e-3
    sampler.forget()
    assert sampler.is_fitted
    torch.testing.assert_close(PerImageSampler(1, scale=3.0).sample(2), torch.full((2, 1), 3.0))
    torch.testing.assert_close(PerImageSampler(4, 2.5).sample(20_000, seed()), 2.5 * draws)


def test_neighbors_are_the_nearest_other_priors():
    points = np.array([[0.0], [1.0], [2.5], [10.0], [11.0]])
    sampler = fitted(VicinalMixSampler(num_neighbors=1), Bank(points))
    assert sampler.neighbors[:, 0].tolist() == [1, 0, 1, 4, 3]
    draws = sampler.sample(2000, seed())
    assert ((draws <= 2.5) | (draws >= 10)).all()


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: VicinalMixSampler(alpha=0), 'alpha of VicinalMixSampler is 0'),
        (lambda: VicinalMixSampler(num_neighbors=0), 'num_neighbors is 0'),
        (lambda: EmpiricalPriorSampler(max_priors=0), 'max_priors is 0'),
        (lambda: PerImageSampler(0), 'prior_dim of PerImageSampler is 0'),
        (lambda: PerImageSampler(2, scale=0), 'scale of PerImageSampler is 0'),
        (lambda: PerImageSampler(2, alpha=-1.0), 'alpha of PerImageSampler is -1'),
        (lambda: fitted(VicinalMixSampler(num_neighbors=30)), 'it must be at most 29'),
    ],
)
def test_bad_arguments_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_neighbors_are_those_of_scikit_learn():
    points = torch.randn(300, 40, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    nearest = NearestNeighbors(n_neighbors=4).fit(points.numpy())
    expected = nearest.kneighbors(return_distance=False)
    for rows in (300, 128):  # in one part, and in several of which the last is shorter
        assert find_neighbors(points, 4, rows).tolist() == expected.tolist()
