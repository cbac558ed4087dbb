"""LSUN's lmdb in miniature."""

import hashlib
import io
import sys

import numpy as np
import pytest
from PIL import Image

from .conftest import pixels_of, read_manifest, record_of

lmdb = pytest.importorskip('lmdb')

COUNTS = ('--num-test', 3, '--num-val', 2)


def key_of(i):
    return hashlib.sha1(b'%d' % i).hexdigest()


def write_database(folder, num=9, more=()):
    """Lossless, so that pixels can be compared."""
    folder.mkdir(parents=True)
    env = lmdb.open(str(folder), map_size=2**24)
    images = {}
    with env.begin(write=True) as transaction:
        for i in range(num):
            pixels = np.random.default_rng(i).integers(0, 256, (20, 16, 3), dtype=np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, 'WEBP', lossless=True)
            transaction.put(key_of(i).encode(), buffer.getvalue())
            images[key_of(i)] = pixels
        for key, value in more:
            transaction.put(key, value)
    env.close()
    return images


@pytest.fixture
def database(tmp_path):
    return tmp_path / 'bedroom_train_lmdb'


def test_lsun_is_cut_to_its_center_and_divided_by_key(convert, database):
    images = write_database(database)
    folder = convert('lsun', database, '--size', 16, *COUNTS)
    ranked = sorted(images, key=lambda key: hashlib.sha256(f'0:{key}'.encode()).digest())
    for split, keys in (('test', ranked[:3]), ('val', ranked[3:5]), ('train', ranked[5:])):
        written = read_manifest(folder, split)
        assert written == [f'{split}/{key[:3]}/{key}.png' for key in sorted(keys)]
        for image_key in written:
            key = image_key[-44:-4]
            assert np.array_equal(pixels_of(folder / image_key), images[key][2:18])
    assert record_of(folder)['num_found'] == 9
    # from the folder that it was unpacked into, resized, and with another seed
    other = convert('lsun', database.parent, '--size', 8, *COUNTS, '--seed', 1, out='other/set')
    assert pixels_of(other / read_manifest(other, 'train')[0]).shape == (8, 8, 3)
    assert {k[-44:] for k in read_manifest(other, 'test')} != {f'{k}.png' for k in ranked[:3]}


def test_a_second_run_decodes_only_what_is_missing(convert, converter, database, monkeypatch):
    write_database(database)
    folder = convert('lsun', database, '--size', 16, *COUNTS)
    lost = read_manifest(folder, 'train')[2]
    (folder / lost).unlink()
    (folder / 'train.txt').unlink()
    module, asked = converter('lsun'), []
    real = module.decode_square
    monkeypatch.setattr(
        module, 'decode_square', lambda c, key, s: asked.append(key) or real(c, key, s)
    )
    convert('lsun', database, '--size', 16, *COUNTS)
    assert asked == [lost[-44:-4]]
    assert lost in read_manifest(folder, 'train')


def test_a_broken_image_is_named(convert, database):
    write_database(database, num=2, more=[(b'f' * 40, b'no image')])
    with pytest.raises(ValueError, match='f{40} is no whole image'):
        convert('lsun', database, '--num-test', 1, '--num-val', 0)


@pytest.mark.parametrize('key', [b'../../evil', b'a/b', b'F' * 40, b'f' * 41])
def test_a_key_that_is_not_lsuns_is_refused(convert, database, key):
    write_database(database, num=2, more=[(key, b'x')])
    with pytest.raises(ValueError, match='those of LSUN are 40 hexadecimal digits'):
        convert('lsun', database, '--num-test', 1, '--num-val', 0)


def test_a_database_that_is_cut_short_is_not_read(convert, database):
    """Reading a page that the file lacks would kill the process."""
    write_database(database)
    file = database / 'data.mdb'
    file.write_bytes(file.read_bytes()[:-4096])
    with pytest.raises(ValueError, match=r'data\.mdb has \d+ bytes but needs \d+: it is cut short'):
        convert('lsun', database, *COUNTS)


def test_what_is_no_database_is_told(convert, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere does not exist, so holds no file data'):
        convert('lsun', tmp_path / 'nowhere')
    with pytest.raises(FileNotFoundError, match=r'holds 0 files data\.mdb; give the unpacked'):
        convert('lsun', tmp_path)
    (tmp_path / 'bedroom_train_lmdb.zip').write_bytes(b'PK')
    with pytest.raises(ValueError, match='must be unpacked first'):
        convert('lsun', tmp_path / 'bedroom_train_lmdb.zip')
    (tmp_path / 'data.mdb').write_bytes(b'no lmdb' * 1000)
    with pytest.raises(ValueError, match='is no lmdb'):
        convert('lsun', tmp_path)


def test_nothing_is_left_to_train_on(convert, database):
    write_database(database, num=3)
    with pytest.raises(ValueError, match='are 3 and 2, but must be 0 or more and together less'):
        convert('lsun', database, *COUNTS)


def test_without_the_lmdb_package_the_error_says_how_to_get_it(
    converter, database, monkeypatch, capsys
):
    write_database(database, num=2)
    monkeypatch.setitem(sys.modules, 'lmdb', None)
    monkeypatch.setattr('sys.argv', ['lsun.py', str(database)])
    with pytest.raises(SystemExit) as stop:
        converter('prepared_set').run(converter('lsun').main)
    assert stop.value.code.startswith('lsun.py: ') and 'pip install lmdb' in stop.value.code
