"""tools/invert.py: pictures, curves and numbers of an inversion, whole or not at all."""

import json
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from disp_plugin.applications import is_sheet


@pytest.fixture(scope='module')
def queries(digits_folder):
    return sorted(map(str, (digits_folder / 'test').glob('7_*.png')))[:3]


@pytest.fixture(scope='module')
def invert(use):
    return partial(use, 'invert.py', '--steps', 6)


def rounding(loss):
    """How far 8 bits can move a mean squared error: a pixel of [-1, 1] is off by 1/255 at most."""
    return 2 * loss**0.5 / 255 + 1 / 255**2 + 1e-5 * loss  # and the file has six digits


def read(folder):
    return json.loads((folder / 'inversion.json').read_text())


def test_pictures_curves_and_numbers_are_written(invert, queries, capsys, refusal):
    folder = invert(*queries)
    names = {path.name for path in folder.iterdir()}
    assert names == {*(f'{i:06d}.png' for i in range(3)), 'inversion.json'}
    grid = np.asarray(Image.open(folder.with_name('out_grid.png')))
    assert grid.shape == (3 * 18 + 2, 3 * 18 + 2, 3)
    best = np.asarray(Image.open(folder / '000001.png'))
    assert np.array_equal(grid[20:36, 38:54], best)  # second row, third column
    numbers = read(folder)
    losses = np.array([image['losses'] for image in numbers['images']])
    assert losses.shape == (3, 7) and [image['file'] for image in numbers['images']] == queries
    query = grid[20:36, 2:18].astype(float) / 127.5 - 1
    error = np.square(best / 127.5 - 1 - query).mean()
    assert abs(error - losses[1].min()) < rounding(error)
    assert np.isclose(numbers['ivom']['value'], losses.min(axis=1).mean(), rtol=1e-5)
    assert losses.min(axis=1).mean() < losses[:, 0].mean()
    assert f'{numbers["ivom"]["value"]:.4g} at best' in capsys.readouterr().out
    curves = folder.with_name('out_curves.png')
    assert np.asarray(Image.open(curves)).std() > 0 and is_sheet(curves)
    assert '000001.png' in refusal(invert, queries[0], '--out', folder)


def test_training_images_are_compared_with_unseen_ones(
    invert, digits_folder, tmp_path, capsys, refusal
):
    train = digits_folder / 'train.txt'
    for file in sorted((digits_folder / 'test').glob('*.png'))[:5]:
        shutil.copy(file, tmp_path)
    folder = invert(train, '--steps', 2, '--held-out', tmp_path)
    numbers = read(folder)
    num = len(train.read_text().splitlines())
    assert len(numbers['images']) == num + 5
    smallest = [min(image['losses']) for image in numbers['images']]
    found = numbers['recovery']
    assert (found['train'], found['held_out']) == (num, 5)
    medians = np.median(smallest[:num]), np.median(smallest[num:])
    assert (found['train_median'], found['held_out_median']) == pytest.approx(medians, rel=1e-5)
    expected = stats.ks_2samp(smallest[:num], smallest[num:])
    assert found['ks_p'] == pytest.approx(expected.pvalue)
    assert f'MRE-gap {1 - medians[0] / medians[1]:.3g}' in capsys.readouterr().out
    said = refusal(invert, train, '--held-out', train)
    assert f'of --held-out {train} are the images to invert' in said


def test_colors_stay_what_they_are(invert, trained, tmp_path):
    """Errors are in the GAN's order of channels; the picture is read as any viewer would."""
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    pixels[..., 0], pixels[:8, :, 1] = 230, 90
    Image.fromarray(pixels).save(tmp_path / 'red.png')
    folder = invert(tmp_path / 'red.png', '--steps', 40)
    grid = np.asarray(Image.open(folder.with_name('out_grid.png')))
    assert np.array_equal(grid[2:18, 2:18], pixels)
    losses = read(folder)['images'][0]['losses']
    best = np.asarray(Image.open(folder / '000000.png'))
    first = grid[2:18, 20:36]
    for picture, loss in ((first, losses[0]), (best, min(losses))):
        error = np.square((picture.astype(float) - pixels) / 127.5).mean()
        swapped = np.square((picture[..., ::-1].astype(float) - pixels) / 127.5).mean()
        assert abs(error - loss) < rounding(loss) < abs(swapped - loss)
    assert best[..., 0].mean() > best[..., 2].mean() + 20


def test_an_interrupted_inversion_leaves_nothing(invert, queries, tmp_path, monkeypatch):
    def stop(self, *args):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.Adam, 'step', stop)
    with pytest.raises(SystemExit) as error:
        invert(queries[0], '--out', tmp_path / 'out')
    assert error.value.code == 130
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['no.png'], 'the image no.png does not exist'),
        (['disp_plugin'], 'holds no image, only'),
        (['QUERY', '--steps', '-1'], '--steps must be at least 0'),
        (['QUERY', '--seed', '-1'], '--seed must be at least 0'),
        (['QUERY', '--device', 'gpu'], "--device 'gpu' cannot be used"),
        (['QUERY', '--lr', '0'], 'learning rate must be positive'),
    ],
)
def test_what_cannot_be_inverted_is_refused(invert, queries, options, message, refusal):
    options = [queries[0] if option == 'QUERY' else option for option in options]
    assert message in refusal(invert, *options)
