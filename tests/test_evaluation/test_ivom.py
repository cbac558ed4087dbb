"""IvOM is what inverting the held-out images gives, by its definition."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmagic.registry import METRICS
from scipy import stats

from disp_plugin.applications.invert_images import invert_images
from disp_plugin.encoders import PixelEncoder
from disp_plugin.evaluation.metrics.distances import frechet_distance
from disp_plugin.evaluation.metrics.ivom import compare_recovery, inversion_error
from tests.gans import make_gan
from tests.numerics import assert_close_to_scale

PIXELS = dict(type='PixelEncoder', size=4)


def test_ivom_is_the_mean_of_the_smallest_errors(gan, held_out, held_out_cfg, pixels_of, tmp_path):
    options = dict(num_queries=6, num_steps=4, batch_size=6, cache_dir=str(tmp_path))
    spaces = dict(pixels=PIXELS)
    metric = METRICS.build(dict(type='IvOMMetric', encoder=PIXELS, spaces=spaces, **options))
    metric.prepare(gan, SimpleNamespace(dataset=held_out))
    found = metric.evaluate()
    rows = np.random.default_rng(0).permutation(20)[:6]
    rgb = pixels_of(held_out_cfg)[torch.from_numpy(rows)]
    prior = PixelEncoder(4)(rgb.float() / 255)
    inverted = invert_images(gan, rgb.flip(1).float() / 127.5 - 1, prior, 4, progress=False)
    assert_close_to_scale(found['ivom_val'], inverted.losses.min(dim=0).values.mean())
    made = ((inverted.images + 1) * 127.5).round().clamp(0, 255).flip(1) / 255
    distance = frechet_distance(PixelEncoder(4)(made), prior).value
    assert found['fid_inverted_val_pixels'] == pytest.approx(distance)
    assert metric.cards[0].protocol.parameters == {'queries': 6, 'steps': 4, 'lr': 0.1}


def test_without_priors_of_unseen_images_there_is_no_start(gan, held_out):
    metric = METRICS.build(dict(type='IvOMMetric', encoder=None))
    with pytest.raises(ValueError, match='leave ivom out'):
        metric.prepare(gan, SimpleNamespace(dataset=held_out))


def test_a_self_modulated_baseline_starts_from_its_noise(
    held_out, held_out_cfg, pixels_of, tmp_path
):
    gan = make_gan('sngan', prior_dim=0).eval()
    options = dict(num_queries=4, num_steps=3, cache_dir=str(tmp_path))
    metric = METRICS.build(dict(type='IvOMMetric', encoder=None, **options))
    metric.prepare(gan, SimpleNamespace(dataset=held_out))
    rows = np.random.default_rng(0).permutation(20)[:4]
    rgb = pixels_of(held_out_cfg)[torch.from_numpy(rows)]
    inverted = invert_images(gan, rgb.flip(1).float() / 127.5 - 1, None, 3, progress=False)
    assert_close_to_scale(metric.evaluate()['ivom_val'], inverted.losses.min(dim=0).values.mean())


def test_it_is_the_mean_of_each_querys_smallest_error_with_its_standard_error(rng):
    losses = rng(0).random((20, 7))
    losses[3, :2] = math.nan, math.inf  # a step that diverged
    smallest = np.nanmin(losses, axis=0)
    found = inversion_error(torch.from_numpy(losses))
    assert found == pytest.approx((smallest.mean(), stats.sem(smallest)))
    assert inversion_error(torch.tensor([[0.5], [0.25]])) == (0.25, None)


@pytest.mark.parametrize(
    ('losses', 'message'),
    [
        (torch.zeros(3, 0), r'both at least 1, but are \(3, 0\)'),
        (torch.zeros(3), r'must be \(steps \+ 1, queries\)'),
        (torch.tensor([[0.5, math.nan], [0.5, math.nan]]), '1 of 2 queries'),
    ],
)
def test_what_has_no_mean_is_refused(losses, message):
    with pytest.raises(ValueError, match=message):
        inversion_error(losses)


def recover(generator, queries):
    """Errors of recovering queries (N, F) by a generator that is a table (T, F) of images."""
    return np.square(queries[:, None] - generator[None]).mean(axis=2).min(axis=1)


def test_a_memorizing_generator_is_told_by_latent_recovery(rng):
    train, held_out = rng(1).random((2, 40, 64))
    table = train + rng(2).normal(0, 1e-3, train.shape)  # it makes nothing else
    errors = recover(table, train), recover(table, held_out)
    found = compare_recovery(*errors)
    # the two distributions are apart: one of binom(80, 40) orders of each sign
    assert found.ks_statistic == 1 and found.ks_p == pytest.approx(2 / math.comb(80, 40))
    assert found.train_median == np.median(errors[0]) and found.gap > 0.99
    assert found.gap == 1 - np.median(errors[0]) / np.median(errors[1])


def test_a_generator_that_is_equally_good_on_both_is_not(rng):
    found = []
    for seed in range(100):
        train, held_out, table = rng(seed).random((3, 30, 8))
        errors = recover(table, train), recover(table, held_out)
        found.append(compare_recovery(*errors))
        edges = np.concatenate(errors)
        steps = [(each[:, None] <= edges).mean(axis=0) for each in errors]
        assert found[-1].ks_statistic == pytest.approx(np.abs(steps[0] - steps[1]).max())
    p = np.array([each.ks_p for each in found])
    # p takes few values and is below a bound at most as often as that says
    assert (p < 0.05).sum() <= 14 and 0.4 < p.mean() < 0.75
    assert abs(np.mean([each.gap for each in found])) < 0.1


@pytest.mark.parametrize(
    ('train', 'held_out', 'message'),
    [
        ([0.1], [0.1, 0.2], 'but got 1 and 2'),
        ([0.1, math.nan], [0.1, 0.2], 'at least 2 finite errors'),
        ([0.1, 0.2], [0.0, 0.0, 0.1], 'recovered exactly'),
    ],
)
def test_recovery_that_cannot_be_compared_is_refused(train, held_out, message):
    with pytest.raises(ValueError, match=message):
        compare_recovery(np.array(train), np.array(held_out))
