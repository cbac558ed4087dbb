"""tools/sample.py: a work folder alone gives images, the same ones for the same seed."""

from functools import partial

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope='module')
def sample(use):
    return partial(use, 'sample.py')


def read(folder):
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob('0*.png'))])


@pytest.fixture(scope='module')
def ten(sample):
    return sample('--num', 10)


def test_images_and_grid_are_written_whole(ten):
    names = sorted(path.name for path in ten.iterdir())
    assert names == [f'{index:06d}.png' for index in range(10)] + ['grid.png']
    images = read(ten)
    assert images.shape == (10, 16, 16, 3) and images.std() > 0
    grid = np.asarray(Image.open(ten / 'grid.png'))
    assert grid.shape == (3 * 18 + 2, 4 * 18 + 2, 3)
    assert np.array_equal(grid[2:18, 20:36], images[1])


def test_the_same_seed_gives_the_same_images_whatever_the_batch_size(sample, ten):
    for batch_size in (1, 3):
        again = read(sample('--num', 10, '--batch-size', batch_size))
        # one gray level: sums of another order round differently
        assert np.abs(again.astype(int) - read(ten)).max() <= 1


def test_the_first_images_do_not_depend_on_how_many_follow(sample, ten):
    assert np.abs(read(sample('--num', 4)).astype(int) - read(ten)[:4]).max() <= 1


def test_another_seed_gives_other_images(sample, ten):
    assert not np.array_equal(read(sample('--num', 10, '--seed', 1)), read(ten))


def test_variations_share_the_prior_and_differ_by_noise(sample, digits_folder):
    image = next((digits_folder / 'test').glob('7_*.png'))
    varied = read(sample('--num', 3, '--prior-from', image))
    assert not np.array_equal(varied[0], varied[1])
    still = read(sample('--num', 3, '--prior-from', image, '--truncation', 0))
    assert np.abs(still.astype(int) - still[0]).max() <= 1


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--num', '0'], 'number of images must be at least 1'),
        (['--batch-size', '0'], 'batch size must be at least 1'),
        (['--truncation', '-1'], 'truncation must be at least 0'),
        (['--nrow', '0'], 'needs at least 1 image'),
        (['--prior-from', 'no.png'], 'the image no.png does not exist'),
        (['--device', 'gpu'], "--device 'gpu' cannot be used"),
    ],
)
def test_options_out_of_range_are_refused(sample, options, message, refusal):
    assert message in refusal(sample, *options)
