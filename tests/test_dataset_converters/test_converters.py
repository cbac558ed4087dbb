"""Each converter on a miniature of its download, in the real layout."""

import hashlib
import io
import itertools
import pickle

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from .conftest import image_bytes, pixels_of, read_manifest, record_of


def stems(keys):
    return {key.rsplit('/', 1)[-1].removesuffix('.png') for key in keys}


def test_digits_are_scikit_learns_divided_by_class(convert):
    folder = convert('digits')
    digits = load_digits()
    keys = {split: read_manifest(folder, split) for split in ('source', 'train', 'test')}
    for split, classes in (('source', '01234'), ('train', '56789'), ('test', '56789')):
        assert {key.split('/')[1][0] for key in keys[split]} == set(classes)
        for key in keys[split]:
            digit, index = key.split('/')[1].removesuffix('.png').split('_')
            assert digits.target[int(index)] == int(digit)
    assert len(keys['train']) == 100 and sum(map(len, keys.values())) == 1797
    assert len(set().union(*keys.values())) == 1797
    per_class = [sum(key.startswith(f'train/{d}_') for key in keys['train']) for d in range(5, 10)]
    assert per_class == [20] * 5
    key = keys['train'][0]
    pixels, index = pixels_of(folder / key), int(key[-8:-4])
    assert pixels.dtype == np.uint8 and pixels.shape == (8, 8)
    assert np.abs(pixels / 255 - digits.images[index] / 16).max() <= 0.5 / 255 + 1e-9


PLACES = ('alley', 'arch', 'art_gallery', 'auditorium', 'ballroom')


@pytest.fixture
def places(pack, monkeypatch, converter):
    """Three or more images of each class and of others, and two of them to train on."""
    monkeypatch.setattr(converter('places2_5k'), 'NUM_PER_CLASS', 2)

    def make(layout, kind):
        files, seed = {}, 0
        for label in (*PLACES, 'bakery'):
            for index in range(4):
                name = f'{label}/{index + 1:08d}.jpg'
                folder = {'easy': 'places365_standard/train/', 'usual': f'data_256/{label[0]}/'}
                files[folder[layout] + name] = image_bytes(seed, (16, 16), '.jpg')
                seed += 1
            if layout == 'easy':
                files[f'places365_standard/val/{label}/Places365_val_1.jpg'] = b'no image'
        return pack(files, kind)

    return make


@pytest.mark.parametrize(
    ('layout', 'kind'), [('easy', 'folder'), ('easy', 'tar'), ('usual', 'tar')]
)
def test_places_takes_the_same_images_from_every_layout(convert, places, layout, kind):
    counts = ('--num-test', 1, '--num-val', 1)
    folder = convert('places2_5k', places(layout, kind), '--size', 8, *counts)
    train, test, val = (read_manifest(folder, split) for split in ('train', 'test', 'val'))
    for label in PLACES:
        assert sum(key.startswith(f'train/{label}/') for key in train) == 2
        assert sum(key.startswith(f'test/{label}/') for key in test) == 1
    assert len(train) == 10 and len(test) == len(val) == 5
    assert len({key.split('/', 1)[1] for key in (*train, *test, *val)}) == 20
    assert pixels_of(folder / train[0]).shape == (8, 8, 3)
    # the choice hangs on class and name alone, so that no layout changes it
    names = [f'arch/{i:08d}' for i in range(1, 5)]
    names.sort(key=lambda name: hashlib.sha256(f'0:{name}'.encode()).digest())
    assert {key for key in train if '/arch/' in key} == {f'train/{n}.png' for n in names[:2]}


@pytest.mark.parametrize(
    ('name', 'num_train'), [('ffhq2k', 2000), ('ffhq', 63_000), ('faces100', 100)]
)
def test_ffhq_is_divided_at_random_whatever_the_depth(
    convert, converter, pack, monkeypatch, name, num_train
):
    module = converter('random_split')
    asked = []
    real = module.split_pool

    def split_fewer(names, num_train, *others):
        asked.append(num_train)
        return real(names, 3, *others)

    monkeypatch.setattr(module, 'split_pool', split_fewer)
    images = {f'{i:05d}.png': image_bytes(i, (16, 16)) for i in range(8)}
    flat = pack(images, 'zip')
    nested = pack({f'thumbnails128x128/{k[:2]}000/{k}': v for k, v in images.items()}, 'tar')
    folders = [
        convert('ffhq', name, source, '--size', 16, '--num-test', 2, '--num-val', 1, out=out)
        for source, out in ((flat, 'flat'), (nested, 'nested'))
    ]
    assert asked == [num_train] * 2
    for split in ('train', 'test'):
        keys = read_manifest(folders[0], split)
        assert keys == read_manifest(folders[1], split)
        for key in keys:
            original = np.asarray(Image.open(io.BytesIO(images[key.rsplit('/')[-1]])))
            assert np.array_equal(pixels_of(folders[0] / key), original)
    parts = [stems(read_manifest(folders[0], s)) for s in ('train', 'test', 'val', 'unused')]
    assert [len(part) for part in parts] == [3, 2, 1, 2] and len(set.union(*parts)) == 8


def test_anime_takes_mixed_images_and_resizes_them(convert, pack):
    files = {
        f'portraits/{i % 10:04d}/{i}.{"jpg" if i % 2 else "png"}': image_bytes(
            i, (24, 20), '.jpg' if i % 2 else '.png'
        )
        for i in range(103)
    }
    folder = convert('anime100', pack(files, 'folder'), '--size', 8, '--num-test', 2)
    train = read_manifest(folder, 'train')
    assert len(train) == 100 and len(read_manifest(folder, 'test')) == 2
    assert len(read_manifest(folder, 'val')) == 1  # all that is left
    assert not read_manifest(folder, 'unused')
    assert {pixels_of(folder / key).shape for key in train} == {(8, 8, 3)}
    assert record_of(folder)['num_found'] == 103


def test_training_sets_of_a_pool_are_nested_and_have_one_test_set(converter):
    split_pool, names = converter('random_split').split_pool, [f'{i}.png' for i in range(20)]
    small, large = (split_pool(names, num, 4, 2, seed=0) for num in (5, 10))
    assert set(small['train']) < set(large['train']) and len(small['train']) == 5
    assert small['test'] == large['test'] and small['val'] == large['val']
    for splits in (small, large, split_pool(names, 17, 4, 2, seed=0)):
        assert sorted(itertools.chain(*splits.values())) == sorted(names)
    with pytest.raises(ValueError, match='--num-train must be at least 1'):
        split_pool(names, 0, 4, 2, seed=0)


CLASSES = ('001.Black_footed_Albatross', '002.Laysan_Albatross')


def cub_files(**changed):
    """CUB_200_2011.tgz with two classes of two birds each."""
    names = [f'{label}/Bird_{i}_{label[:3]}.jpg' for label in CLASSES for i in range(2)]
    files = {'attributes.txt': b'1 has_bill_shape::curved\n'}
    lines = [f'{i + 1} {name}\n' for i, name in enumerate(names)]
    files['CUB_200_2011/images.txt'] = ''.join(lines).encode()
    files['CUB_200_2011/train_test_split.txt'] = b'1 0\n2 1\n3 1\n4 0\n'
    for seed, name in enumerate(names):
        files[f'CUB_200_2011/images/{name}'] = image_bytes(seed, (30, 20), '.jpg')
    files.update({f'CUB_200_2011/{k}.txt': v for k, v in changed.items()})
    return files


@pytest.mark.parametrize('kind', ['folder', 'tgz'])
def test_cub_is_divided_as_its_table_says(convert, pack, kind):
    folder = convert('cub6k', pack(cub_files(), kind), '--size', 16)
    assert read_manifest(folder, 'train') == [
        'train/001.Black_footed_Albatross/Bird_1_001.png',
        'train/002.Laysan_Albatross/Bird_0_002.png',
    ]
    assert stems(read_manifest(folder, 'test')) == {'Bird_0_001', 'Bird_1_002'}
    assert pixels_of(folder / read_manifest(folder, 'test')[0]).shape == (16, 16, 3)


def cifar_files(name, rng):
    """The binary version, two images a file; also the pixels and classes it holds."""
    num_labels = 1 if name == 'cifar10' else 2
    root = 'cifar-10-batches-bin' if name == 'cifar10' else 'cifar-100-binary'
    trains = [f'data_batch_{i}.bin' for i in range(1, 6)] if name == 'cifar10' else ['train.bin']
    test, num = ('test_batch.bin', 2) if name == 'cifar10' else ('test.bin', 10)
    files, pixels, labels = {}, {}, {}
    for file in (*trains, test):
        images = rng.integers(0, 256, (num, 32, 32, 3), dtype=np.uint8)
        fine = rng.integers(0, 3, num, dtype=np.uint8)
        records = b''
        for image, label in zip(images, fine, strict=True):
            coarse = bytes([label ^ 1]) if num_labels == 2 else b''
            planes = image[..., 0].tobytes() + image[..., 1].tobytes() + image[..., 2].tobytes()
            records += coarse + bytes([label]) + planes
        files[f'{root}/{file}'] = records
        split = 'test' if file == test else 'train'
        pixels.setdefault(split, []).extend(images)
        labels.setdefault(split, []).extend(fine)
    names = 'batches.meta.txt' if name == 'cifar10' else 'fine_label_names.txt'
    files[f'{root}/{names}'] = b'airplane\nbird\ncat\n\n'
    return files, pixels, labels


@pytest.mark.parametrize(('name', 'kind'), [('cifar10', 'tar.gz'), ('cifar100', 'folder')])
def test_cifar_keeps_every_pixel_and_class(convert, pack, rng, name, kind):
    files, pixels, labels = cifar_files(name, rng(0))
    folder = convert('cifar', name, pack(files, 'tgz' if kind == 'tar.gz' else kind))
    for split in ('train', 'test'):
        keys = read_manifest(folder, split)
        assert len(keys) == len(pixels[split])
        for key in keys:
            _, label, file = key.split('/')
            index = int(file.removesuffix('.png'))
            assert ('airplane', 'bird', 'cat')[labels[split][index]] == label
            assert np.array_equal(pixels_of(folder / key), pixels[split][index])
    fifth, tenth = (set(read_manifest(folder, f'train_{p}p')) for p in (20, 10))
    assert (len(fifth), len(tenth)) == (2, 1)
    assert tenth < fifth < set(read_manifest(folder, 'train'))
    val = read_manifest(folder, 'val')
    assert len(val) == 1 and val[0] in read_manifest(folder, 'train') and val[0] not in fifth


def cub_without_an_image():
    files = cub_files()
    del files['CUB_200_2011/images/002.Laysan_Albatross/Bird_0_002.jpg']
    return files


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ('a pickle was opened',))


def cut_cifar():
    files, _, _ = cifar_files('cifar10', np.random.default_rng(0))
    files['cifar-10-batches-bin/data_batch_2.bin'] += b'x'
    return files


@pytest.mark.parametrize(
    ('command', 'files', 'message'),
    [
        (['anime100'], {'a/1.png': b'', 'b/1.png': b''}, 'a/1.png and b/1.png have the same name'),
        (
            ['places2_5k'],
            {'train/alley/1.jpg': b''},
            '500 images of alley for train are needed but only 1',
        ),
        (['cub6k'], cub_without_an_image(), '1 images listed in images.txt .*Bird_0_002'),
        (['cub6k'], cub_files(train_test_split=b'1 0\n2 1\n'), r"images \['3', '4'\]"),
        (['cub6k'], cub_files(images=b'1\n'), "images.txt of .* holds a line '1', not <id>"),
        (['cifar', 'cifar10'], cut_cifar(), 'batch_2.bin has 6147 bytes, not a multiple of 3073'),
        (
            ['cifar', 'cifar10'],
            {'cifar-10-batches-py/data_batch_1': pickle.dumps(Bomb())},
            'python version, made of pickles.*binary version',
        ),
    ],
)
def test_what_is_not_the_download_is_refused_in_words(convert, pack, command, files, message):
    name, *arguments = command
    with pytest.raises(ValueError, match=message):
        convert(name, *arguments, pack(files, 'tgz'))


def test_a_second_run_reads_nothing_and_changes_nothing(convert, pack, monkeypatch, converter):
    path = pack(cub_files(), 'tgz')
    folder = convert('cub6k', path, '--size', 8)
    before = {file: file.stat().st_mtime_ns for file in folder.rglob('*.png')}
    download = converter('download').Download
    monkeypatch.setattr(download, '_decode', lambda *args, **kwargs: pytest.fail('read again'))
    convert('cub6k', path, '--size', 8)
    assert {file: file.stat().st_mtime_ns for file in folder.rglob('*.png')} == before
