"""The downsampled ImageNet, in both of its formats; nothing in a pickle is run."""

import io
import pickle

import numpy as np
import pytest

from .conftest import pixels_of, read_manifest

STEMS = (*(f'train_data_batch_{i}' for i in range(1, 11)), 'val_data')


def batches(rng):
    """Fields of each file, as the official ones hold them."""
    return {
        stem: {
            'data': rng.integers(0, 256, (2, 3072), dtype=np.uint8),
            'labels': [int(label) for label in rng.integers(1, 1001, 2)],
            'mean': rng.random(3072),
        }
        for stem in STEMS
    }


def encode(fields, kind):
    if kind == 'npz':
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **fields)
        return buffer.getvalue()
    return pickle.dumps(fields, protocol=kind)


def files_of(contents, kind, part):
    """The files of one of the two archives."""
    suffix = '.npz' if kind == 'npz' else ''
    return {
        f'{stem}{suffix}': encode(fields, kind)
        for stem, fields in contents.items()
        if stem.startswith(part)
    }


@pytest.fixture
def imagenet32(converter):
    return converter('imagenet32')


@pytest.mark.parametrize(('kind', 'packed'), [('npz', 'zip'), (3, 'folder')])
def test_imagenet_keeps_every_pixel_and_label(convert, pack, rng, kind, packed):
    contents = batches(rng(0))
    paths = [pack(files_of(contents, kind, p), packed, name=p) for p in ('train', 'val')]
    folder = convert('imagenet32', *paths)
    for split, stems in (('train', STEMS[:-1]), ('test', STEMS[-1:])):
        keys = read_manifest(folder, split)
        expected = []
        for number, stem in enumerate(stems, 1):
            for row, label in enumerate(contents[stem]['labels']):
                key = f'{split}/{label:04d}/{number:02d}_{row:06d}.png'
                planes = contents[stem]['data'][row].reshape(3, 32, 32)
                pixels = pixels_of(folder / key)
                assert all(np.array_equal(pixels[..., c], planes[c]) for c in range(3))
                expected.append(key)
        assert keys == expected
    convert('imagenet32', *paths)  # again: all is there


@pytest.mark.parametrize('protocol', [0, 1, 2, 3, 4])
def test_a_pickle_of_any_protocol_gives_what_pickle_itself_would(imagenet32, rng, protocol):
    fields = {**batches(rng(1))['val_data'], 'f': np.asfortranarray(rng(2).random((3, 4)))}
    content = pickle.dumps(fields, protocol)
    ours, theirs = imagenet32.read_pickle(content, 'x'), pickle.loads(content)
    assert ours.keys() == theirs.keys() and ours['labels'] == theirs['labels']
    for name in ('data', 'mean', 'f'):
        assert ours[name].dtype == theirs[name].dtype
        assert np.array_equal(ours[name], theirs[name])


def test_a_pickle_of_python_2_is_read(imagenet32):
    """Its arrays' content is text: what protocol 0 of Python 2 wrote for np.arange(3, 6), uint8."""
    content = (
        b"(dp0\nS'data'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\n"
        b"S'b'\np5\ntp6\nRp7\n(I1\n(I3\ntp8\ncnumpy\ndtype\np9\n(S'u1'\np10\nI0\nI1\ntp11\nRp12\n(I3\n"
        b"S'|'\np13\nNNNI-1\nI-1\nI0\ntp14\nbI00\nS'\\x03\\x04\\xff'\np15\ntp16\nbs."
    )
    assert imagenet32.read_pickle(content, 'x')['data'].tolist() == [3, 4, 255]


class Bomb:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    'value',
    [
        Bomb(pytest.fail, 'a pickle was run'),
        Bomb(eval, '1'),
        Bomb(np.load, 'x'),
        [Bomb(getattr, 1, 'real')],
        np.array([Bomb(pytest.fail, 'a pickle was run')], dtype=object),
        np.array(['text']),
        np.array([1], dtype='>i8'),
    ],
    ids=lambda value: getattr(value, 'dtype', None) and str(value.dtype),
)
def test_a_pickle_that_holds_more_than_numbers_is_refused(imagenet32, value):
    content = pickle.dumps({'data': value}, protocol=3)
    with pytest.raises(ValueError, match='val_data is no whole pickle of arrays.*nothing of it'):
        imagenet32.read_pickle(content, 'val_data')


def test_an_npz_that_holds_a_pickle_is_refused(imagenet32):
    content = encode({'data': np.array([Bomb(pytest.fail, 'run')], dtype=object)}, 'npz')
    with pytest.raises(ValueError, match=r'a\.npz is no whole npz file'):
        imagenet32.read_batch(content, 'a.npz')


@pytest.mark.parametrize('kind', ['npz', 3])
def test_a_batch_that_is_cut_short_is_named(imagenet32, rng, kind):
    name = 'val_data.npz' if kind == 'npz' else 'val_data'
    content = encode(batches(rng(0))['val_data'], kind)
    with pytest.raises(ValueError, match=f'{name} is no whole .*download it again'):
        imagenet32.read_batch(content[:-200], name)


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        ({'data': np.zeros((2, 12288), np.uint8)}, r'uint8 \(2, 12288\); is it the 32x32 version'),
        ({'data': np.zeros((2, 3072))}, r'uint8 \(images, 3072\), but holds float64'),
        ({'data': 'nothing'}, "holds <class 'str'>"),
        ({'labels': [1]}, r'each of its 2 images, but holds int64 \(1,\)'),
        ({'labels': [0.5, 1.0]}, 'whole number as label'),
        ({'labels': [0, 1]}, 'val_data holds labels from 0 to 1, but'),
    ],
)
def test_what_is_no_batch_of_32_px_is_refused(imagenet32, rng, changed, message):
    fields = {**batches(rng(0))['val_data'], **changed}
    with pytest.raises(ValueError, match=message):
        imagenet32.read_batch(pickle.dumps(fields), 'val_data')


def test_a_missing_batch_is_named_before_any_image_is_written(convert, pack, rng, tmp_path):
    files = files_of(batches(rng(0)), 'npz', '')
    del files['train_data_batch_7.npz']
    with pytest.raises(FileNotFoundError, match=r'neither train_data_batch_7\.npz nor train_data'):
        convert('imagenet32', pack(files, 'folder'))
    assert not (tmp_path / 'prepared').exists()
