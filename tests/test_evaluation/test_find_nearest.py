"""The nearest training images are those that NumPy finds, and a copy is at distance 0."""

import numpy as np
import pytest
import torch

from disp_plugin.evaluation.find_nearest import find_nearest, flatten_pixels


class View:
    """Training images in memory, in one view or two."""

    def __init__(self, images):
        self.images = images
        self.keys = [f'{index}.png' for index in range(len(images))]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        return self.images[row]


@pytest.fixture
def view(rng):
    return View(rng(0).integers(0, 256, (150, 1, 4, 4, 3), dtype=np.uint8))


def test_distances_are_root_mean_square_differences_of_pixels(view, rng):
    samples = rng(1).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    found = find_nearest(flatten_pixels(samples), view, list(range(150)), flatten_pixels)
    differences = samples[:, None].astype(float) - view.images[None, :, 0]
    wanted = np.sqrt((differences**2).mean(axis=(2, 3, 4)))
    order = wanted.argsort(axis=1)[:, :3]
    assert found.keys == [[f'{column}.png' for column in row] for row in order]
    np.testing.assert_allclose(found.distances, np.sort(wanted, axis=1)[:, :3], rtol=1e-5)
    assert found.num_searched == 150


def test_black_and_white_are_255_apart():
    black, white = np.zeros((1, 2, 2, 3), np.uint8), np.full((1, 2, 2, 3), 255, np.uint8)
    assert torch.dist(flatten_pixels(black), flatten_pixels(white)).item() == pytest.approx(255)


def test_a_copy_is_at_distance_zero_also_of_the_flipped_view(view):
    both = View(np.concatenate([view.images, view.images[:, :, :, ::-1]], axis=1))
    samples = np.stack([both.images[7, 0], both.images[9, 1]])
    found = find_nearest(flatten_pixels(samples), both, list(range(150)), flatten_pixels)
    assert [keys[0] for keys in found.keys] == ['7.png', '9.png']
    assert found.distances[:, 0].tolist() == [0, 0]
    assert found.views[:, 0].tolist() == [0, 1]


def test_the_view_of_each_image_is_the_one_at_its_distance(view, rng):
    both = View(np.concatenate([view.images, view.images[:, :, :, ::-1]], axis=1))
    samples = rng(1).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    found = find_nearest(flatten_pixels(samples), both, list(range(150)), flatten_pixels)
    assert {0, 1} == set(found.views.ravel().tolist())
    for sample, keys, sides, distances in zip(
        samples, found.keys, found.views, found.distances, strict=True
    ):
        shown = np.stack(
            [both.images[both.keys.index(k), v] for k, v in zip(keys, sides, strict=True)]
        )
        wanted = np.sqrt(((shown - sample.astype(float)) ** 2).mean(axis=(1, 2, 3)))
        np.testing.assert_allclose(distances, wanted, rtol=1e-5)


def test_the_typical_distance_is_0_where_every_image_is_there_twice(view):
    twice = View(np.concatenate([view.images[:5], view.images[:5]]))
    sample = flatten_pixels(view.images[:1, 0])
    assert find_nearest(sample, twice, list(range(10)), flatten_pixels).typical == 0


def test_the_typical_distance_is_that_of_training_images_to_others(view):
    rows = list(range(80))
    found = find_nearest(flatten_pixels(view.images[:1, 0]), view, rows, flatten_pixels)
    flat = view.images[:80, 0].reshape(80, -1).astype(float)
    distances = np.sqrt(((flat[:, None] - flat[None]) ** 2).mean(axis=2))
    np.fill_diagonal(distances, np.inf)
    assert found.typical == pytest.approx(np.median(distances.min(axis=1)), rel=0.01)


def test_only_the_given_rows_are_looked_at(view):
    samples = flatten_pixels(view.images[3, :1])
    found = find_nearest(samples, view, [1, 5], flatten_pixels)
    assert sorted(found.keys[0]) == ['1.png', '5.png']
    alone = find_nearest(samples, view, [3], flatten_pixels)
    assert alone.keys == [['3.png']] and np.isnan(alone.typical)
