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


def test_images_are_written_whole_and_their_sheet_beside_them(ten):
    names = sorted(path.name for path in ten.iterdir())
    assert names == [f'{index:06d}.png' for index in range(10)]
    images = read(ten)
    assert images.shape == (10, 16, 16, 3) and images.std() > 0
    grid = np.asarray(Image.open(ten.with_name('out_grid.png')))
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
        (['--num', '0'], '--num must be at least 1'),
        (['--batch-size', '0'], '--batch-size must be at least 1'),
        (['--truncation', '-1'], 'truncation must be at least 0'),
        (['--nrow', '0'], '--nrow must be at least 1'),
        (['--prior-from', 'no.png'], 'the image no.png does not exist'),
        (['--device', 'gpu'], "--device 'gpu' cannot be used"),
    ],
)
def test_options_out_of_range_are_refused(sample, options, message, refusal):
    assert message in refusal(sample, *options)


def test_samples_of_two_commands_never_share_a_folder(sample, tmp_path, refusal):
    out = ['--out', tmp_path / 's']
    sample(*out, '--num', 5)
    (tmp_path / 's/notes.txt').touch()
    said = refusal(sample, *out, '--num', 3)
    assert 'holds other samples (000003.png, 000004.png)' in said and '--overwrite' in said
    assert len(list((tmp_path / 's').glob('*.png'))) == 5
    sample(*out, '--num', 3, '--overwrite')
    names = ['000000.png', '000001.png', '000002.png', 'notes.txt']
    assert sorted(path.name for path in (tmp_path / 's').iterdir()) == names
    sample(*out, '--num', 4)  # which replaces all that is there
    (tmp_path / 's/my_cat.JPG').touch()
    for flags in ([], ['--overwrite']):
        assert 'no samples (my_cat.JPG)' in refusal(sample, *out, '--num', 9, *flags)


def test_a_folder_is_not_emptied_before_there_is_a_sample(sample, tmp_path, refusal):
    sample('--out', tmp_path / 's', '--num', 2)
    refusal(sample, '--out', tmp_path / 's', '--num', 1, '--overwrite', '--prior-from', 'no.png')
    assert len(list((tmp_path / 's').iterdir())) == 2
