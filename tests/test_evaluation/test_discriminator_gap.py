"""The gap between D's scores of training and held-out images."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmagic.registry import DATASETS, METRICS
from torch import nn

from disp_plugin.encoders import PixelEncoder

ENCODER = dict(type='PixelEncoder', size=4)


def pixels_of(cfg):
    images = DATASETS.build(cfg)
    rgb = np.stack([images.view(row) for row in range(len(images))])
    return torch.from_numpy(rgb).permute(0, 3, 1, 2)


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


def test_scores_are_those_of_the_discriminator_with_each_images_own_prior(
    measure, gan, train_cfg, held_out_cfg
):
    metric, found = measure(gan)
    means, scores = [], {}
    for name, cfg in (('train', train_cfg), ('held_out', held_out_cfg)):
        rgb = pixels_of(cfg)
        prior = PixelEncoder(4)(rgb.float() / 255)
        bgr = rgb.flip(1).float() / 127.5 - 1
        with torch.no_grad():
            scores[name] = gan.discriminator(bgr, prior).flatten()
        means.append(scores[name].mean().item())
    assert found['disc_gap_val'] == pytest.approx(means[0] - means[1], abs=1e-5)
    unit = scores['held_out'].std().item()
    assert found['disc_gap_in_sd_val'] == pytest.approx((means[0] - means[1]) / unit, abs=1e-4)
    details = metric.cards[0].details
    assert details['score_train'] == pytest.approx(means[0], abs=1e-5)
    assert details['num_scored'] == [24, 20]
    expected = (scores['train'].var() / 24 + scores['held_out'].var() / 20).sqrt().item()
    assert metric.cards[0].standard_deviation == pytest.approx(expected, rel=1e-4)


class KnowsByHeart(nn.Module):
    """Scores a training image by 2 and any other by 0."""

    def __init__(self, known):
        super().__init__()
        self.known = known

    def forward(self, img):
        own = ((img + 1) * 127.5).round().flip(1).to(torch.uint8)
        return torch.tensor([[2.0 if any((x == k).all() for k in self.known) else 0] for x in own])


def test_a_discriminator_that_knows_its_images_by_heart_is_seen(measure, train_cfg):
    gan = SimpleNamespace(
        with_ema_gen=False,
        discriminator=KnowsByHeart(pixels_of(train_cfg)),
        data_preprocessor=SimpleNamespace(output_channel_order=None),
        parameters=lambda: iter([torch.zeros(1)]),
    )
    _, found = measure(gan, encoder=None)
    assert found == {'disc_gap_val': 2.0}  # no unit where all held-out scores are equal


def test_per_image_embeddings_are_left_out_of_the_score(
    measure, gan, held_out_cfg, train_cfg, monkeypatch
):
    monkeypatch.setattr(gan, 'per_image', True, raising=False)
    _, found = measure(gan, encoder=None)
    means = []
    for cfg in (train_cfg, held_out_cfg):
        with torch.no_grad():
            bgr = pixels_of(cfg).flip(1).float() / 127.5 - 1
            means.append(gan.discriminator.discriminator(bgr).mean().item())
    assert found['disc_gap_val'] == pytest.approx(means[0] - means[1], abs=1e-5)


def test_a_discriminator_that_takes_labels_is_left_out(measure, train_cfg):
    gan = SimpleNamespace(
        with_ema_gen=False,
        discriminator=SimpleNamespace(num_classes=10),
        data_preprocessor=SimpleNamespace(output_channel_order=None),
        parameters=lambda: iter([torch.zeros(1)]),
    )
    metric, found = measure(gan, encoder=None)
    assert found == {} and 'with class labels' in metric.left_out[0]


def test_a_gan_with_priors_needs_their_encoder(measure, gan):
    metric, found = measure(gan, encoder=None)
    assert found == {} and 'give encoder=' in metric.left_out[0]


def test_a_batch_size_that_stylegan2_cannot_take_is_refused(train_cfg):
    with pytest.raises(ValueError, match='multiple of 4, but is 6'):
        METRICS.build(dict(type='DiscriminatorGapMetric', train_dataset=train_cfg, batch_size=6))
