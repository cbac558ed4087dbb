"""tools/interpolate.py: walks between two images, or between priors of the sampler."""

from functools import partial

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope='module')
def interpolate(use):
    return partial(use, 'interpolate.py')


def read(path):
    return np.asarray(Image.open(path)).astype(int)


def test_walks_between_priors_of_the_sampler(interpolate):
    folder = interpolate('--num', 2, '--steps', 3, '--seed', 5)
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f'00{w}_00{s}.png' for w in range(2) for s in range(3)]
    grid = read(folder.with_name('out_grid.png'))
    assert grid.shape == (2 * 18 + 2, 3 * 18 + 2, 3)
    assert np.array_equal(grid[20:36, 38:54], read(folder / '001_002.png'))
    again = interpolate('--num', 2, '--steps', 3, '--seed', 5)
    assert np.array_equal(read(again.with_name('out_grid.png')), grid)
    other = interpolate('--num', 2, '--steps', 3)
    assert not np.array_equal(read(other.with_name('out_grid.png')), grid)


def test_a_walk_between_two_images_begins_and_ends_at_their_variations(
    interpolate, use, digits_folder
):
    ends = [next((digits_folder / 'test').glob(f'{digit}_*.png')) for digit in (6, 8)]
    folder = interpolate(*ends, '--num', 2, '--steps', 4)
    for end, step in zip(ends, (0, 3), strict=True):
        varied = use('sample.py', '--num', 2, '--prior-from', end)
        for walk in range(2):
            first = read(varied / f'00000{walk}.png')
            assert np.abs(first - read(folder / f'00{walk}_00{step}.png')).max() <= 1


def test_walks_and_samples_never_share_a_folder(interpolate, use, tmp_path, refusal):
    out = ['--out', tmp_path / 'w', '--num', 1]
    interpolate(*out, '--steps', 3)
    assert '000_002.png' in refusal(interpolate, *out, '--steps', 2)
    assert 'other samples (000_000.png' in refusal(use, 'sample.py', *out)
    use('sample.py', *out, '--overwrite')
    assert [path.name for path in (tmp_path / 'w').iterdir()] == ['000000.png']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['one.png'], 'a walk has two ends, but 1 image'),
        (['one.png', 'two.png', 'three.png'], 'a walk has two ends, but 3 image'),
        (['one.png', 'two.png'], 'the image one.png does not exist'),
        (['--steps', '1'], '--steps must be at least 2, but is 1'),
        (['--num', '-3'], '--num must be at least 1, but is -3'),
        (['--seed', '-1'], '--seed must be at least 0, but is -1'),
        (['--device', 'cuda:99'], "--device 'cuda:99' cannot be used"),
    ],
)
def test_what_cannot_be_walked_is_refused(interpolate, options, message, refusal):
    assert message in refusal(interpolate, *options)
