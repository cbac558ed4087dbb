"""Pixels keep their color from a training image to a sampled PNG; files are whole or absent."""

import numpy as np
import pytest
import torch
from mmagic.models.base_models import BaseGAN
from mmagic.models.data_preprocessors import DataPreprocessor
from PIL import Image
from torch import nn

from disp_plugin.applications import draw_inputs, make_grid, sample_images, write_png
from disp_plugin.datasets import ImageFolderDataset

RED = (250, 20, 90)


class Remembers(nn.Module):
    """A 'generator' that shows what a discriminator would be shown."""

    noise_size = 3

    def __init__(self, image):
        super().__init__()
        self.image = nn.Parameter(image)

    def forward(self, noise, return_noise=False, **kwargs):
        return self.image[None].expand(len(noise), -1, -1, -1)


class TinyGAN(BaseGAN):
    noise_size = 3

    def train_discriminator(self):
        """Not used."""

    def train_generator(self):
        """Not used."""


@pytest.fixture
def real_image(tmp_path):
    """A red image, as the training pipeline hands it to the preprocessor."""
    Image.new('RGB', (8, 8), RED).save(tmp_path / 'red.png')
    return ImageFolderDataset(str(tmp_path))[0]


@pytest.mark.parametrize('order', [None, 'BGR', 'RGB'])
def test_colors_survive_training_order_and_sampling(real_image, order, tmp_path):
    preprocessor = DataPreprocessor(output_channel_order=order)
    samples = preprocessor(
        dict(inputs=dict(), data_samples=[real_image['data_samples']]), training=True
    )['data_samples']
    gan = TinyGAN(Remembers(samples.gt_img[0]), None, preprocessor)
    noise, _ = draw_inputs(gan, 2, seed=0)
    images = np.concatenate(list(sample_images(gan, noise, None, sample_model='orig')))
    assert images.shape == (2, 8, 8, 3)
    assert np.abs(images.astype(int) - np.array(RED)).max() <= 1
    write_png(tmp_path / 'out' / 'sample.png', images[0])
    assert Image.open(tmp_path / 'out' / 'sample.png').getpixel((3, 3)) == tuple(images[0, 3, 3])


def test_an_ema_generator_that_is_not_there_is_refused():
    gan = TinyGAN(Remembers(torch.zeros(3, 4, 4)), None, DataPreprocessor())
    with pytest.raises(ValueError, match='no EMA generator'):
        next(sample_images(gan, torch.zeros(1, 3), None, sample_model='ema'))


def test_noise_is_standard_normal_and_a_function_of_the_seed():
    gan = TinyGAN(Remembers(torch.zeros(3, 4, 4)), None, DataPreprocessor())
    noise, prior = draw_inputs(gan, 3000, seed=5)
    assert prior is None
    assert noise.mean().abs() < 0.05 and (noise.std() - 1).abs() < 0.05
    state = torch.get_rng_state()
    assert torch.equal(draw_inputs(gan, 3000, seed=5)[0], noise)
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is left alone
    assert torch.equal(draw_inputs(gan, 10, seed=5)[0], noise[:10])


def test_a_grid_has_every_image_in_its_place():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 3), np.uint8)
    grid = make_grid(images, num_columns=2, gap=1)
    assert grid.shape == (3 * 3 + 1, 2 * 4 + 1, 3)
    for index in range(5):
        row, column = divmod(index, 2)
        cell = grid[1 + 3 * row : 3 + 3 * row, 1 + 4 * column : 4 + 4 * column]
        assert (cell == index).all()
    assert (grid[7:9, 5:8] == 255).all()  # the place of the sixth
    assert make_grid(images).shape == make_grid(images, 3).shape  # as square as can be
