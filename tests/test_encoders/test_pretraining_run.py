"""The parts of a training: views vary as told, steps and schedule follow their formulas."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from disp_plugin.datasets import ImageFolderDataset, SeededDraws
from disp_plugin.encoders.pretrain_encoder import ContrastiveObjective, SimCLROptions
from disp_plugin.encoders.pretraining_run import (
    EpochBatches,
    PretrainingRun,
    TwoViews,
    ViewOptions,
    describe_change,
    learning_rate_factor,
)

STILL = dict(in_size=16, min_crop=1, flip=False, color_jitter=0, grayscale=0)
TINY = SimCLROptions(
    'timm/resnet10t', dict(channels=(8, 8, 16, 16), stem_width=8), ViewOptions(in_size=16)
)


@pytest.fixture
def square(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'square.png')
    return ImageFolderDataset(str(tmp_path)), torch.from_numpy(pixels)


def draw(images, **changes):
    views = TwoViews(images, ViewOptions(**{**STILL, **changes}), [7])
    return torch.cat([views[0][0] for _ in range(20)])


def test_without_variation_a_view_is_the_image(square):
    views = draw(square[0])
    assert views.shape == (40, 16, 16, 3) and views.dtype == torch.uint8
    # a crop of the whole area may still change its proportions, but here some are the square
    assert any(torch.equal(view, square[1]) for view in views)


def test_a_mirrored_view_appears_only_where_views_are_mirrored(square):
    def has_mirrored(flip):
        mirrored = square[1].flip(1)
        return any(torch.equal(view, mirrored) for view in draw(square[0], flip=flip))

    assert has_mirrored(True) and not has_mirrored(False)


def test_colors_stay_unless_they_are_jittered(square):
    still, jittered = (
        draw(square[0], color_jitter=strength).float().mean((1, 2)).std(0).max()
        for strength in (0, 1.0)
    )
    assert still < 2 and jittered > 10


def test_gray_views_are_as_frequent_as_asked(square):
    views = draw(square[0], grayscale=0.5)
    gray = (views[..., :1] == views[..., 1:]).all(-1).all(-1).all(-1).float().mean()
    assert 0.2 < gray < 0.8


def test_a_gray_image_stays_gray_and_is_jittered_in_brightness(tmp_path):
    Image.new('L', (16, 16), 120).save(tmp_path / 'gray.png')
    views = draw(ImageFolderDataset(str(tmp_path)), color_jitter=1.0)
    assert (views[..., :1] == views[..., 1:]).all()
    assert views.float().mean((1, 2, 3)).std() > 10


def test_a_draw_is_the_same_whenever_it_is_made(image_folder):
    images = ImageFolderDataset(str(image_folder))
    views = SeededDraws(TwoViews(images, ViewOptions(in_size=16), list(range(8))), seed=1)
    first, target = views[12]
    torch.rand(5)
    assert torch.equal(views[12][0], first) and target == 4
    assert not torch.equal(views[4][0], first)  # the same image in another epoch
    assert not torch.equal(first[0], first[1])  # two views of one draw


def test_batches_cover_each_epoch_once_in_another_order():
    batches = list(EpochBatches(num_images=10, batch_size=3, epochs=range(2), seed=0))
    assert len(batches) == 6 == len(EpochBatches(10, 3, range(2), 0))
    epochs = [[p for batch in part for p in batch] for part in (batches[:3], batches[3:])]
    assert all(len(set(positions)) == 9 for positions in epochs)
    assert all(0 <= position < 10 for position in epochs[0])
    assert all(10 <= position < 20 for position in epochs[1])
    assert [position - 10 for position in epochs[1]] != epochs[0]
    # an epoch does not depend on where the training began
    assert list(EpochBatches(10, 3, range(1, 2), 0)) == batches[3:]


def make_run():
    return PretrainingRun(TINY, ContrastiveObjective(TINY), {}, 'cpu')


def test_a_step_lowers_the_loss_of_its_own_batch():
    run, targets = make_run(), torch.zeros(12)
    views = torch.randint(0, 256, (12, 2, 16, 16, 3), dtype=torch.uint8)
    losses = [float(run.step(views, targets, 0.1)[0]) for _ in range(15)]
    assert losses[-1] < losses[0] - 0.3


def test_the_network_sees_both_views_normalized_and_apart(monkeypatch):
    run, seen = make_run(), {}
    views = torch.randint(0, 256, (4, 2, 16, 16, 3), dtype=torch.uint8)
    forward = run.network.forward
    monkeypatch.setattr(run.network, 'forward', lambda x: seen.update(x=x) or forward(x))
    run.step(views, torch.zeros(4), 0.5)
    want = torch.cat([views[:, 0], views[:, 1]]).permute(0, 3, 1, 2).float() / 127.5 - 1
    torch.testing.assert_close(seen['x'], want, rtol=0, atol=1e-6)  # four roundings of [-1, 1]


def test_the_learning_rate_rises_and_falls():
    rates = [learning_rate_factor(i / 1000) for i in range(1000)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == pytest.approx(1, abs=1e-6)
    assert rates.index(max(rates)) == 100
    assert rates[550] == pytest.approx(0.5, abs=1e-6)
    assert rates[-1] < 1e-4


def test_changed_options_are_named():
    before = dict(epochs=10, lr=1e-3, images='abc', views=dict(flip=True, shift=0.0))
    now = dict(epochs=20, lr=1e-3, images='abd', views=dict(flip=False, shift=0.0))
    assert describe_change(before, now) == (
        'epochs 10 instead of 20, other images, flip True instead of False'
    )
    assert describe_change(before, before) == ''


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(in_size=4), 'size must be at least 8, but is 4'),
        (dict(min_crop=0), 'min-crop must be above 0 and at most 1, but is 0'),
        (dict(color_jitter=-1), 'color-jitter must be from 0 to 2, but is -1'),
        (dict(grayscale=2), 'grayscale must be from 0 to 1, but is 2'),
        (dict(rotation=200), 'rotation must be from 0 to 180, but is 200'),
        (dict(shift=1), 'shift must be from 0 to below 1, but is 1'),
        (dict(epochs=0), 'epochs must be at least 1, but is 0'),
        (dict(batch_size=1), 'batch-size must be at least 2, but is 1: an encoder is trained on'),
        (dict(lr=0), 'lr must be positive, but is 0'),
        (dict(temperature=-1), 'temperature must be positive, but is -1'),
        (dict(seed=-1), 'seed must not be negative, but is -1'),
    ],
)
def test_impossible_options_are_refused(options, message):
    of_views = set(options) & {field.name for field in dataclasses.fields(ViewOptions)}
    with pytest.raises(ValueError, match=message):
        (ViewOptions if of_views else SimCLROptions)(**options)
