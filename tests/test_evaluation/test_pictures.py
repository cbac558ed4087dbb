"""Each picture is what its text says: the sample, the training image of that name, the walk."""

import base64
import io
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import disp_plugin.register  # noqa: F401
from disp_plugin.applications.sample_images import draw_inputs
from disp_plugin.evaluation.report.pictures import (
    find_nearest,
    flatten_pixels,
    show_grid,
    show_nearest,
    show_walks,
)
from disp_plugin.models import DISPGAN, Latents

SIDE = 16
ALT = re.compile(r'Training image (?P<key>[^,]+)(?P<mirrored>, mirrored)?, of sample (?P<num>\d+) ')


class Gan(DISPGAN):
    """A generator whose images are those of a table, or colors of the prior and the noise."""

    noise_size, prior_dim, with_ema_gen = 1, 3, False
    data_preprocessor = SimpleNamespace(output_channel_order='RGB')

    def __init__(self, table=None):
        torch.nn.Module.__init__(self)
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.table = table

    def draw_latents(self, num, generator=None):
        noise = torch.randn(num, 1, generator=generator)
        return Latents(noise, torch.rand(num, 3, generator=generator))

    def forward(self, inputs):
        if self.table is not None:
            rows = (inputs['noise'][:, 0].abs() * 1000).long() % len(self.table)
            images = torch.from_numpy(self.table[rows.numpy()].copy()).permute(0, 3, 1, 2)
        else:
            images = (inputs['prior'] * 255)[:, :, None, None].expand(-1, -1, SIDE, SIDE)
        return [SimpleNamespace(fake_img=image) for image in images]


def decode(picture):
    kind, data = picture.src.split(';base64,')
    assert kind == 'data:image/png'
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert('RGB'))


def read(file):
    return np.asarray(Image.open(file).convert('RGB'))


@pytest.fixture(params=[False, True], ids=['as it is', 'mirrored'])
def compared(request, image_folder):
    """Samples that are training images, all mirrored or none."""
    files = sorted(Path(image_folder).rglob('*.png'))
    table = np.stack([read(file) for file in files])
    if request.param:
        table = table[:, :, ::-1]
    dataset = dict(
        type='ImageFolderDataset', data_root=str(image_folder), image_size=SIDE, flip=True
    )
    gan = Gan(table)
    comparisons, _ = show_nearest(gan, {'train_dataloader': {'dataset': dataset}}, seed=0)
    return SimpleNamespace(
        comparisons=comparisons, folder=image_folder, gan=gan, is_mirrored=request.param
    )


def test_every_training_image_is_the_file_that_its_text_names(compared):
    shown = set()
    for num, comparison in enumerate(compared.comparisons, 1):
        for _, pictures in comparison.nearest:
            for picture in pictures:
                said = ALT.match(picture.alt)
                wanted = read(Path(compared.folder) / said['key'])
                if said['mirrored']:
                    wanted = wanted[:, ::-1]
                np.testing.assert_array_equal(decode(picture), wanted)
                assert int(said['num']) == num
                shown.add(said['key'])
    assert len(shown) > 3


def test_a_copy_is_beside_the_view_that_it_copies(compared):
    for comparison in compared.comparisons:
        ((_, pictures),) = comparison.nearest
        np.testing.assert_array_equal(decode(pictures[0]), decode(comparison.sample))
        assert ('mirrored' in pictures[0].alt) == compared.is_mirrored
        assert pictures[0].caption.startswith('0')
    samples = {decode(comparison.sample).tobytes() for comparison in compared.comparisons}
    assert len(samples) > 3


def test_the_samples_beside_are_the_first_of_the_grid(compared):
    grid = decode(show_grid(compared.gan, seed=0))
    for column, comparison in enumerate(compared.comparisons[:8]):
        left = 2 + column * (SIDE + 2)
        cell = grid[2 : 2 + SIDE, left : left + SIDE]
        np.testing.assert_array_equal(cell, decode(comparison.sample))


def test_a_walk_goes_from_one_drawn_prior_to_the_next():
    walks = show_walks(Gan(), seed=3)
    _, priors = draw_inputs(Gan(), 2 * len(walks), 3)
    colors = (priors * 255).round().byte().numpy()
    for index, walk in enumerate(walks):
        strip = decode(walk)
        ends = strip[5, 5], strip[5, -5]
        np.testing.assert_array_equal(ends, colors[2 * index : 2 * index + 2])
        assert not np.array_equal(*ends)


class View:
    """Training images (N, V, H, W, 3) in memory, in one view or two."""

    def __init__(self, images):
        self.images = images
        self.num_views = images.shape[1]

    def view(self, index, flipped=False):
        return self.images[index, int(flipped)]


@pytest.fixture
def view(rng):
    return View(rng(0).integers(0, 256, (150, 1, 4, 4, 3), dtype=np.uint8))


def test_distances_are_root_mean_square_differences_of_pixels(view, rng):
    samples = rng(1).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    found = find_nearest(flatten_pixels(samples), view, list(range(150)), flatten_pixels)
    differences = samples[:, None].astype(float) - view.images[None, :, 0]
    wanted = np.sqrt((differences**2).mean(axis=(2, 3, 4)))
    order = wanted.argsort(axis=1)[:, :3]
    assert found.rows.tolist() == order.tolist()
    np.testing.assert_allclose(found.distances, np.sort(wanted, axis=1)[:, :3], rtol=1e-5)


def test_the_view_of_each_image_is_the_one_at_its_distance(view, rng):
    both = View(np.concatenate([view.images, view.images[:, :, :, ::-1]], axis=1))
    samples = rng(1).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    found = find_nearest(flatten_pixels(samples), both, list(range(150)), flatten_pixels)
    assert {0, 1} == set(found.views.ravel().tolist())
    for sample, rows, sides, distances in zip(
        samples, found.rows, found.views, found.distances, strict=True
    ):
        shown = both.images[rows, sides]
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
    assert sorted(found.rows[0]) == [1, 5]
    alone = find_nearest(samples, view, [3], flatten_pixels)
    assert alone.rows.tolist() == [[3]] and np.isnan(alone.typical)
