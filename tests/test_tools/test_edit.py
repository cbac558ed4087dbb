"""tools/edit.py: images from the prior of an edited image, and how near they are to it."""

import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

from disp_plugin.applications import encode_image, load_gan, show_as_training


@pytest.fixture(scope='module')
def edit(use):
    return partial(use, 'edit.py')


@pytest.fixture(scope='module')
def images(digits_folder):
    return [next((digits_folder / 'test').glob(f'{digit}_*.png')) for digit in (7, 8)]


def read(path):
    return np.asarray(Image.open(path))


def read_samples(folder):
    return np.stack([read(path) for path in sorted(folder.glob('0*.png'))])


def cosine(first, second):
    return (first @ second / np.linalg.norm(first) / np.linalg.norm(second)).item()


@pytest.mark.parametrize(
    ('flags', 'told'),
    [
        ([], {'edit': 'none'}),
        (['--cut-out', '--box', 2, 3, 6, 7], {'edit': 'cut_out', 'box': [2, 3, 6, 7]}),
        (['--cut-mix', 'OTHER', '--seed', 3], {'edit': 'cut_mix', 'seed': 3}),
        (['--sketch'], {'edit': 'sketch'}),
    ],
)
def test_samples_are_variations_of_the_edited_image(
    edit, use, trained, images, tmp_path, capsys, flags, told
):
    flags = [images[1] if flag == 'OTHER' else flag for flag in flags]
    folder = edit(images[0], '--num', 2, *flags)
    samples, grid = read_samples(folder), read(folder.with_name('out_grid.png'))
    shown, edited, *sheet = (grid[y : y + 16, x : x + 16] for y in (2, 20) for x in (2, 20))
    _, cfg = load_gan(trained)
    assert np.array_equal(shown, show_as_training(cfg, images[0]))
    assert np.array_equal(np.stack(sheet), samples)
    assert np.array_equal(shown, edited) == (not flags)
    # the edited image by itself gives the same ones, bit for bit
    Image.fromarray(edited).save(tmp_path / 'edited.png')
    seed = ['--seed', told.get('seed', 0)]
    varied = use('sample.py', '--num', 2, '--prior-from', tmp_path / 'edited.png', *seed)
    assert np.array_equal(read_samples(varied), samples)
    numbers = json.loads(folder.with_name('out_cosines.json').read_text())
    assert numbers.items() >= {**told, 'image': str(images[0]), 'num': 2}.items()
    files = [images[0], tmp_path / 'edited.png', *sorted(folder.glob('0*.png'))]
    of_image, of_edited, *others = encode_image(cfg, files).double().numpy()
    expected = {
        'samples_to_edited': np.mean([cosine(each, of_edited) for each in others]),
        'samples_to_image': np.mean([cosine(each, of_image) for each in others]),
        'edited_to_image': cosine(of_edited, of_image),
    }
    assert numbers['cosines'] == pytest.approx(expected, abs=1e-9)
    said = f'samples_to_edited {expected["samples_to_edited"]:.3f}'
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--box', 0, 0, 4, 4], '--box is of --cut-mix OTHER or --cut-out'),
        (['--cut-out', '--box', 9, 0, 8, 4], 'must hold a pixel and lie within the image of 16 x'),
        (['--cut-mix', 'no.png'], 'the image no.png does not exist'),
        (['--cut-out', '--sketch'], 'not allowed with argument'),
        (['--num', 0], '--num must be at least 1'),
    ],
)
def test_what_cannot_be_edited_is_refused(edit, images, options, message, refusal):
    assert message in refusal(edit, images[0], *options)
