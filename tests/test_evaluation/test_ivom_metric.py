"""IvOM is what inverting the held-out images gives."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmagic.registry import METRICS

from disp_plugin.applications.invert_images import invert_images
from disp_plugin.encoders import PixelEncoder
from disp_plugin.evaluation.frechet_distance import frechet_distance
from disp_plugin.priors import TrainingView

PIXELS = dict(type='PixelEncoder', size=4)


def test_ivom_is_the_mean_of_the_smallest_errors(gan, held_out, tmp_path):
    metric = METRICS.build(
        dict(
            type='IvOMMetric',
            encoder=PIXELS,
            spaces=dict(pixels=PIXELS),
            num_queries=6,
            num_steps=4,
            batch_size=4,
            cache_dir=str(tmp_path),
        )
    )
    metric.prepare(gan, SimpleNamespace(dataset=held_out))
    found = metric.evaluate()
    view = TrainingView(held_out)
    rows = np.random.default_rng(0).permutation(20)[:6]
    rgb = torch.from_numpy(np.stack([view[row][0] for row in rows])).permute(0, 3, 1, 2)
    prior = PixelEncoder(4)(rgb.float() / 255)
    inverted = invert_images(gan, rgb.flip(1).float() / 127.5 - 1, prior, 4, progress=False)
    expected = inverted.losses.min(dim=0).values.mean().item()
    assert found['ivom_val'] == pytest.approx(expected, rel=1e-4)
    made = ((inverted.images + 1) * 127.5).round().clamp(0, 255).flip(1) / 255
    distance = frechet_distance(PixelEncoder(4)(made), prior).value
    assert found['fid_inverted_val_pixels'] == pytest.approx(distance, rel=1e-3)
    assert metric.cards[0]['details'] == {'queries': 6, 'steps': 4, 'lr': 0.1}


@pytest.mark.parametrize('encoder', [None, dict(type='PerImageEncoder', num_images=3)])
def test_without_priors_of_unseen_images_there_is_no_start(encoder):
    with pytest.raises(ValueError, match='leave ivom out'):
        METRICS.build(dict(type='IvOMMetric', encoder=encoder))
