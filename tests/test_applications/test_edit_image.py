"""Edits change the pixels that they name; boxes follow CutMix's law."""

import numpy as np
import pytest
from mmengine.config import Config
from scipy.ndimage import gaussian_filter

from disp_plugin.applications import cut_mix, cut_out, draw_box, sample_edited, sketch

BOX = (3, 1, 5, 7)


def draw_image(seed, height=12, width=10):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize('other', [None, draw_image(1)])
def test_the_box_is_replaced_and_nothing_else(other):
    img = draw_image(0)
    before = img.copy()
    edited = cut_out(img, BOX) if other is None else cut_mix(img, other, BOX)
    for row, column in np.ndindex(12, 10):
        is_inside = 3 <= column < 8 and 1 <= row < 8
        source = (img if not is_inside else other) if other is not None or not is_inside else 128
        expected = source if isinstance(source, int) else source[row, column]
        assert (edited[row, column] == expected).all()
    assert np.array_equal(img, before)


@pytest.mark.parametrize('box', [(-1, 0, 2, 2), (0, 6, 1, 7), (6, 0, 5, 1), (0, 0, 0, 3)])
def test_a_box_that_is_not_within_the_image_is_refused(box):
    with pytest.raises(ValueError, match=r'the box X Y W H = .* within the image of 10 x 12 px'):
        cut_out(draw_image(0), box)


def test_images_of_two_sizes_are_not_mixed():
    with pytest.raises(ValueError, match='10 x 12 px and 9 x 12 px; they must agree'):
        cut_mix(draw_image(0), draw_image(1, width=9), BOX)


def test_boxes_follow_cutmix_law():
    boxes = np.array([draw_box(256, 128, seed) for seed in range(2000)])
    left, top, width, height = boxes.T
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] >= 1).all()
    assert (left + width).max() == 128 and (top + height).max() == 256
    assert draw_box(256, 128, 5) == tuple(boxes[5])
    # a side s has density 2 s and keeps s - s^2 / 4 of itself within the image, so that the mean
    # area is the integral of 2 s (s - s^2 / 4)^2; pixels are whole, which moves it by 2 / 128
    areas = width * height / (128 * 256)
    error = 5 * areas.std() / len(areas) ** 0.5
    assert abs(areas.mean() - 2 * (1 / 4 - 1 / 10 + 1 / 96)) < error + 2 / 128
    assert draw_box(1, 2, 0)[2:] == (1, 1)  # which would hold no pixel of such an image


def test_a_sketch_is_gray_over_its_blur():
    img = draw_image(0, 64, 64)
    drawn = sketch(img)
    assert drawn.shape == img.shape and drawn.dtype == np.uint8
    gray = (img @ [0.299, 0.587, 0.114]).round()
    # OpenCV reflects at the border and cuts the kernel off at four standard deviations
    blurred = gaussian_filter(gray, 2.0, mode='mirror', truncate=4)
    expected = np.minimum(255 * (gray + 1) / (blurred + 1), 255)
    # weights of colors in 14 bits can round a gray value up that is rounded down here
    slack = 255 / (blurred + 1) + 1
    assert (np.abs(drawn - expected[..., None]) <= slack[..., None]).all()


def test_an_edge_is_drawn_dark_on_white():
    img = np.zeros((32, 32, 3), np.uint8)
    assert (sketch(img) == 255).all() and (sketch(img + 200) == 255).all()
    img[:, 16:] = 200
    drawn = sketch(img)[..., 0]
    assert (
        (drawn[:, 15] < 30).all() and (drawn[:, 16:] == 255).all() and (drawn[:, :10] == 255).all()
    )


def test_runs_without_an_encoder_are_refused(build_gan):
    gan, img = build_gan('biggan'), draw_image(0)
    for model in (dict(prior_dim=6, per_image=True), dict(prior_dim=0)):
        with pytest.raises(ValueError, match='no encoder'):
            sample_edited(gan, Config(dict(model=model)), img, img)
