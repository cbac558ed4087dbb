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
from disp_plugin.evaluation.find_nearest import Nearest
from disp_plugin.evaluation.show_images import _say_typical, show_grid, show_nearest, show_walks

SIDE = 16
ALT = re.compile(r'Training image (?P<key>[^,]+)(?P<mirrored>, mirrored)?, of sample (?P<num>\d+) ')


class Gan(torch.nn.Module):
    """A generator whose images are those of a table, or colors of the prior and the noise."""

    noise_size, prior_dim = 1, 3
    data_preprocessor = SimpleNamespace(output_channel_order='RGB')

    def __init__(self, table=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.table = table
        self.sampler = SimpleNamespace(
            sample=lambda num, generator: torch.rand(num, 3, generator=generator)
        )

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
    steps = [
        {'type': 'LoadTrainingImage'},
        {'type': 'Resize', 'keys': 'gt', 'scale': (SIDE, SIDE)},
        {'type': 'Flip', 'keys': 'gt', 'direction': 'horizontal', 'flip_ratio': 0.5},
    ]
    dataset = {'type': 'ImageFolderDataset', 'data_root': str(image_folder), 'pipeline': steps}
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


@pytest.mark.parametrize(
    ('typical', 'words'),
    [(0.0, 'more than once'), (float('nan'), 'no others'), (2.0, '1x is 2')],
)
def test_what_cannot_be_compared_is_told_apart(typical, words):
    nothing = np.zeros((0, 3))
    assert words in _say_typical(Nearest([], nothing, nothing, typical, 1))
