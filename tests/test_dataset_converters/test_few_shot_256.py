"""The 100-shot sets, from miniatures of the zip of one set and of that of all."""

import io

import numpy as np
import pytest
from PIL import Image

from .conftest import image_bytes, pixels_of, read_manifest, record_of


def few_shot_files(folder='', num=100, size=(8, 8), first=0):
    prefix = f'{folder}/' if folder else ''
    return {f'{prefix}{i}.png': image_bytes(first + i, size) for i in range(num)}


def test_every_image_is_trained_on_and_none_is_held_out(convert, pack):
    files = few_shot_files()
    folder = convert('few_shot_256', 'panda', pack(files, 'zip', '100-shot-panda'), '--size', 8)
    assert read_manifest(folder, 'train') == sorted(f'train/{name}' for name in files)
    assert not (folder / 'test.txt').exists()
    assert record_of(folder) == {'converter': 'panda', 'size': 8}
    for name, content in files.items():
        original = np.asarray(Image.open(io.BytesIO(content)))
        assert np.array_equal(pixels_of(folder / 'train' / name), original)


@pytest.mark.parametrize('kind', ['zip', 'folder'])
def test_a_set_is_found_among_the_others_by_its_folder(convert, pack, kind):
    files = few_shot_files('datasets/100-shot-obama', first=1000)
    cats = few_shot_files('datasets/100-shot-grumpy_cat')
    source = pack(files | cats, kind, 'data-efficient-gans')
    folder = convert('few_shot_256', 'grumpy_cat', source, '--size', 8)
    first = np.asarray(Image.open(io.BytesIO(cats['datasets/100-shot-grumpy_cat/0.png'])))
    assert len(read_manifest(folder, 'train')) == 100
    assert np.array_equal(pixels_of(folder / 'train/0.png'), first)


def test_a_run_without_out_names_the_folder_after_the_set(converter, pack, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = few_shot_files('AnimalFace-cat', num=160)
    converter('few_shot_256').main(['animalface_cat', str(pack(files, 'folder')), '--size', '8'])
    assert len(read_manifest('data/animalface_cat', 'train')) == 160


@pytest.mark.parametrize(
    ('files', 'num'),
    [
        (few_shot_files(num=99), 99),
        (few_shot_files() | {'again/0.png': b'', 'more/100.png': b''}, 101),
        (few_shot_files('100-shot-panda', num=3) | few_shot_files('100-shot-obama', num=97), 3),
        ({'datasets/100-shot-panda.zip': b'PK'}, 0),
    ],
    ids=['cut', 'more', 'folder cut', 'zips in a zip'],
)
def test_another_number_of_images_is_an_error_that_says_both(convert, pack, files, num):
    expected = f'100-shot-panda has 100 images, but {num} of .* its own zip'
    with pytest.raises(ValueError, match=expected):
        convert('few_shot_256', 'panda', pack(files, 'zip'))


def test_the_zip_of_another_set_is_refused(convert, pack):
    obama = pack(few_shot_files(), 'zip', '100-shot-obama')
    with pytest.raises(ValueError, match=r'obama\.zip is 100-shot-obama; give 100-shot-panda'):
        convert('few_shot_256', 'panda', obama)
