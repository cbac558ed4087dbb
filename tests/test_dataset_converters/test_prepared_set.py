"""What all converters share: the choice by seed, the images, the manifests."""

import hashlib
import json
import threading

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def prepared_set(converter):
    return converter('prepared_set')


def test_rank_is_the_order_of_sha256_whatever_the_order_of_the_names(prepared_set):
    names = [f'image_{i}' for i in range(50)]
    expected = sorted(names, key=lambda n: hashlib.sha256(b'7:' + n.encode()).hexdigest())
    assert prepared_set.rank(names, seed=7) == expected
    assert prepared_set.rank(reversed(names), seed=7) == expected
    assert prepared_set.rank(names, seed=8) != expected


def test_choosing_more_than_there_is_names_both_numbers(prepared_set):
    with pytest.raises(ValueError, match='5 birds are needed but only 2 were found'):
        prepared_set.choose(['a', 'b'], 5, seed=0, what='birds')


def test_to_square_cuts_the_center_and_leaves_fitting_pixels_alone(prepared_set):
    img = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    assert np.array_equal(prepared_set.to_square(img, 8), img[:, 2:10])
    flat = np.full((20, 10, 3), 77, np.uint8)
    assert np.array_equal(prepared_set.to_square(flat, 5), np.full((5, 5, 3), 77, np.uint8))


def write(prepared_set, folder, seed=0, read=None, decode=None):
    chosen = {f'train/{i}.png': str(i) for i in (3, 1, 0, 2)}
    with prepared_set.prepare_set(folder, {'seed': seed}) as prepared:
        images = read or (lambda i: np.full((2, 2), int(i), np.uint8))
        prepared.write_images('train', chosen, images, *filter(None, [decode]))


def test_a_split_is_read_in_its_order_and_listed_by_key(prepared_set, tmp_path):
    asked = []
    write(
        prepared_set,
        tmp_path,
        read=lambda name: asked.append(name) or int(name),
        decode=lambda number, name: np.full((2, 2), number + 10 * int(name), np.uint8),
    )
    assert asked == list('3102')
    assert (tmp_path / 'train.txt').read_text().split() == [f'train/{i}.png' for i in range(4)]
    rows = [line.split('\t') for line in (tmp_path / 'chosen.tsv').read_text().splitlines()]
    assert rows == [[f'train/{i}.png', str(i)] for i in range(4)]
    for i in range(4):
        assert np.asarray(Image.open(tmp_path / f'train/{i}.png')).tolist() == [[11 * i] * 2] * 2


def test_an_interrupted_run_leaves_no_manifest_and_the_next_one_goes_on(prepared_set, tmp_path):
    def fail_at_2(name):
        if name == '2':
            # the last of four: the others are being written
            while len(list(tmp_path.rglob('*.png'))) < 3:
                pass
            raise KeyboardInterrupt
        return np.zeros((2, 2), np.uint8)

    with pytest.raises(KeyboardInterrupt):
        write(prepared_set, tmp_path, read=fail_at_2)
    assert not (tmp_path / 'train.txt').exists()
    asked = []
    write(prepared_set, tmp_path, read=lambda i: asked.append(i) or np.full((2, 2), 9, np.uint8))
    assert asked == ['2']
    assert (tmp_path / 'train.txt').read_text().split() == [f'train/{i}.png' for i in range(4)]
    assert not list(tmp_path.rglob('*.part'))


def test_a_second_run_that_asks_for_something_else_is_refused(prepared_set, tmp_path):
    write(prepared_set, tmp_path)
    with pytest.raises(ValueError, match='prepared with seed=0, not 1.*--out'):
        write(prepared_set, tmp_path, seed=1)
    assert json.loads((tmp_path / 'prepared.json').read_text()) == {'seed': 0}


@pytest.mark.parametrize('folder', ['..', 'a/b', 'a\\b', '', 'a\nb'])
def test_a_key_cannot_leave_its_split(prepared_set, folder):
    with pytest.raises(ValueError, match='cannot name a folder'):
        prepared_set.make_key('train', 'x.jpg', folder)
    assert prepared_set.make_key('train', '../../x.jpg', 'bird') == 'train/bird/x.png'


def add_all(prepared_set, folder, read, num=40):
    with prepared_set.prepare_set(folder, {'seed': 0}) as prepared:
        for i in range(num):
            split = 'test' if i % 4 == 0 else 'train'
            prepared.add(split, f'{split}/{i:02d}.png', f'row {i}', lambda i=i: read(i))


def flat(i):
    return np.full((2, 2), i, np.uint8)


def test_images_and_lists_are_in_the_order_in_which_they_were_added(prepared_set, tmp_path):
    add_all(prepared_set, tmp_path, flat)
    keys = {s: (tmp_path / f'{s}.txt').read_text().splitlines() for s in ('train', 'test')}
    assert keys['test'] == [f'test/{i:02d}.png' for i in range(0, 40, 4)]
    assert keys['train'] == [f'train/{i:02d}.png' for i in range(40) if i % 4]
    rows = [line.split('\t') for line in (tmp_path / 'chosen.tsv').read_text().splitlines()]
    assert [name for _, name in rows] == [f'row {i}' for i in range(40)]
    assert [key for key, _ in rows if key.startswith('train')] == keys['train']
    for key, name in rows:
        assert np.array_equal(np.asarray(Image.open(tmp_path / key)), flat(int(name[4:])))


@pytest.mark.parametrize('num', [24, 40])
def test_an_error_in_a_thread_ends_the_run_without_manifests(prepared_set, tmp_path, num):
    """At the last image (24 of them) it is seen only when the block ends."""

    def fail_at_23(i):
        if i == 23:
            raise ValueError('image 23 is broken')
        return flat(i)

    with pytest.raises(ValueError, match='image 23 is broken'):
        add_all(prepared_set, tmp_path, fail_at_23, num)
    assert not list(tmp_path.glob('*.t*')) and not list(tmp_path.rglob('.*'))
    asked = []
    add_all(prepared_set, tmp_path, lambda i: asked.append(i) or flat(i))
    assert 23 in asked and 0 not in asked
    assert len(list(tmp_path.rglob('*.png'))) == 40


def test_no_more_images_are_held_than_keep_the_threads_busy(prepared_set, tmp_path, monkeypatch):
    monkeypatch.setattr('os.cpu_count', lambda: 2)
    gate, added = threading.Event(), []

    def read(i):
        assert gate.wait(10)
        return flat(i)

    def add_60(prepared):
        for i in range(60):
            prepared.add('train', f'train/{i}.png', '', lambda i=i: read(i))
            added.append(i)

    with prepared_set.prepare_set(tmp_path, {}) as prepared:
        adder = threading.Thread(target=add_60, args=(prepared,))
        adder.start()
        adder.join(0.3)
        held = len(added)
        gate.set()
        adder.join()
    assert held == 4 * 2 and len(list(tmp_path.rglob('*.png'))) == 60


def test_a_user_mistake_ends_in_one_line(prepared_set, monkeypatch):
    monkeypatch.setattr('sys.argv', ['tools/dataset_converters/cub6k.py'])

    def main(argv):
        raise FileNotFoundError('CUB_200_2011.tgz does not exist')

    with pytest.raises(SystemExit) as stop:
        prepared_set.run(main)
    assert stop.value.code == 'cub6k.py: CUB_200_2011.tgz does not exist'
