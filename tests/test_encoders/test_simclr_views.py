"""Views vary what their options say and nothing else, drawn by what is drawn."""

import numpy as np
import pytest
import torch
from PIL import Image

from disp_plugin.datasets import SeededDraws
from disp_plugin.encoders.simclr_views import EpochBatches, TwoViews, ViewOptions

STILL = dict(in_size=16, min_crop=1, flip=False, color_jitter=0, grayscale=0)


@pytest.fixture
def square(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'square.png')
    return str(tmp_path / 'square.png'), torch.from_numpy(pixels)


def draw(path, **changes):
    dataset = TwoViews([path], ViewOptions(**{**STILL, **changes}))
    return torch.cat([dataset[0] for _ in range(20)])


def test_without_variation_a_view_is_the_image(square):
    views = draw(square[0])
    assert views.shape == (40, 16, 16, 3)
    assert views.dtype == torch.uint8
    # a crop of the whole area may still change its proportions, but here some are the square
    assert any(torch.equal(view, square[1]) for view in views)


def test_a_mirrored_view_appears_only_where_views_are_mirrored(square):
    def has_mirrored(**changes):
        mirrored = square[1].flip(1)
        return any(torch.equal(view, mirrored) for view in draw(square[0], **changes))

    assert has_mirrored(flip=True)
    assert not has_mirrored(flip=False)


def test_colors_stay_unless_they_are_jittered(square):
    means = {
        name: draw(square[0], **changes).float().mean((1, 2)).std(0).max()
        for name, changes in dict(still={}, jitter=dict(color_jitter=1.0)).items()
    }
    assert means['still'] < 2
    assert means['jitter'] > 10


def test_gray_views_are_as_frequent_as_asked(square):
    views = draw(square[0], grayscale=0.5)
    gray = (views[..., :1] == views[..., 1:]).all(-1).all(-1).all(-1).float().mean()
    assert 0.2 < gray < 0.8


def test_a_gray_image_stays_gray_and_is_jittered_in_brightness(tmp_path):
    Image.new('L', (16, 16), 120).save(tmp_path / 'gray.png')
    views = draw(str(tmp_path / 'gray.png'), color_jitter=1.0)
    assert (views[..., :1] == views[..., 1:]).all()
    assert views.float().mean((1, 2, 3)).std() > 10


def test_a_draw_is_the_same_whenever_it_is_made(square):
    views = SeededDraws(TwoViews([square[0]] * 3, ViewOptions(in_size=16)), seed=1)
    first = views[4]
    torch.rand(5)
    assert torch.equal(views[4], first)
    assert not torch.equal(views[1], first)  # the same image in another epoch
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


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(in_size=4), 'size must be at least 8, but is 4'),
        (dict(min_crop=0), 'min-crop must be above 0 and at most 1, but is 0'),
        (dict(color_jitter=-1), 'color-jitter must be from 0 to 2, but is -1'),
        (dict(grayscale=2), 'grayscale must be from 0 to 1, but is 2'),
        (dict(rotation=200), 'rotation must be from 0 to 180, but is 200'),
        (dict(shift=1), 'shift must be from 0 to below 1, but is 1'),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ViewOptions(**options)
