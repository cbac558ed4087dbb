"""The gap between D's scores of training and held-out images."""

from types import SimpleNamespace

import pytest
import torch
from mmagic.registry import METRICS
from torch import nn

from tests.numerics import assert_close_to_scale

ENCODER = dict(type='PixelEncoder', size=4)


@pytest.fixture
def measure(train_cfg, held_out, tmp_path):
    def measure(gan, **fields):
        fields = {'encoder': ENCODER, 'train_dataset': train_cfg, **fields}
        metric = METRICS.build(
            dict(type='DiscriminatorGapMetric', cache_dir=str(tmp_path), **fields)
        )
        metric.prepare(gan, SimpleNamespace(dataset=held_out))
        return metric, metric.evaluate()

    return measure


@pytest.mark.parametrize('per_image', [False, True])
def test_scores_are_those_of_the_discriminator_with_each_images_own_prior(
    measure, gan, train_cfg, held_out_cfg, pixels_of, encode, monkeypatch, per_image
):
    """Per-image embeddings, which unseen images have not, are left out of the score."""
    monkeypatch.setattr(gan, 'per_image', per_image, raising=False)
    metric, found = measure(gan, encoder=None if per_image else ENCODER)
    scores = []
    with torch.no_grad():
        for rgb in (pixels_of(train_cfg), pixels_of(held_out_cfg)):
            bgr = rgb.flip(1).float() / 127.5 - 1
            score = gan.discriminator
            score = score.discriminator(bgr) if per_image else score(bgr, encode(rgb))
            scores.append(score.flatten())
    details, gap = metric.cards[0].details, found['disc_gap_val']
    means = [scores[0].mean(), scores[1].mean()]
    assert_close_to_scale([details['score_train'], details['score_held_out']], means)
    assert gap == pytest.approx(details['score_train'] - details['score_held_out'])
    assert_close_to_scale(gap / found['disc_gap_in_sd_val'], scores[1].std())
    expected = (scores[0].var() / 24 + scores[1].var() / 20).sqrt()
    assert_close_to_scale(metric.cards[0].standard_deviation, expected)
    assert details['num_scored'] == [24, 20]


class KnowsByHeart(nn.Module):
    """Scores a training image by 2 and any other by 0."""

    def __init__(self, known):
        super().__init__()
        self.known = known

    def forward(self, img):
        own = ((img + 1) * 127.5).round().flip(1).to(torch.uint8)
        return torch.tensor([[2.0 if any((x == k).all() for k in self.known) else 0] for x in own])


def without_priors(discriminator):
    """A GAN of mmagic's, as far as the metric looks at it."""
    return SimpleNamespace(
        with_ema_gen=False,
        discriminator=discriminator,
        data_preprocessor=None,
        parameters=lambda: iter([torch.zeros(1)]),
    )


def test_a_discriminator_that_knows_its_images_by_heart_is_seen(measure, train_cfg, pixels_of):
    _, found = measure(without_priors(KnowsByHeart(pixels_of(train_cfg))), encoder=None)
    assert found == {'disc_gap_val': 2.0}  # no unit where all held-out scores are equal


def test_what_cannot_be_scored_is_left_out(measure, gan, train_cfg):
    metric, found = measure(without_priors(SimpleNamespace(num_classes=10)), encoder=None)
    assert found == {} and 'with class labels' in metric.left_out[0]
    metric, found = measure(gan, encoder=None)
    assert found == {} and 'give encoder=' in metric.left_out[0]
    with pytest.raises(ValueError, match='multiple of 4, but is 6'):
        measure(gan, batch_size=6)
