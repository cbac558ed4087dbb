import threading

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def streamed_set(converter):
    return converter('streamed_set').StreamedSet


def add_all(streamed_set, folder, read, num=40):
    with streamed_set(folder, {'seed': 0}) as prepared:
        for i in range(num):
            split = 'test' if i % 4 == 0 else 'train'
            prepared.add(split, f'{split}/{i:02d}.png', f'row {i}', lambda i=i: read(i))


def flat(i):
    return np.full((2, 2), i, np.uint8)


def test_images_and_lists_are_in_the_order_in_which_they_were_added(streamed_set, tmp_path):
    add_all(streamed_set, tmp_path, flat)
    keys = {s: (tmp_path / f'{s}.txt').read_text().splitlines() for s in ('train', 'test')}
    assert keys['test'] == [f'test/{i:02d}.png' for i in range(0, 40, 4)]
    assert keys['train'] == [f'train/{i:02d}.png' for i in range(40) if i % 4]
    rows = [line.split('\t') for line in (tmp_path / 'chosen.tsv').read_text().splitlines()]
    assert [name for _, name in rows] == [f'row {i}' for i in range(40)]
    assert [key for key, _ in rows if key.startswith('train')] == keys['train']
    for key, name in rows:
        assert np.array_equal(np.asarray(Image.open(tmp_path / key)), flat(int(name[4:])))


@pytest.mark.parametrize('num', [24, 40])
def test_an_error_in_a_thread_ends_the_run_without_manifests(streamed_set, tmp_path, num):
    """At the last image (24 of them) it is seen only when the block ends."""

    def fail_at_23(i):
        if i == 23:
            raise ValueError('image 23 is broken')
        return flat(i)

    with pytest.raises(ValueError, match='image 23 is broken'):
        add_all(streamed_set, tmp_path, fail_at_23, num)
    assert not list(tmp_path.glob('*.t*')) and not list(tmp_path.rglob('.*'))
    asked = []
    add_all(streamed_set, tmp_path, lambda i: asked.append(i) or flat(i))
    assert 23 in asked and 0 not in asked
    assert len(list(tmp_path.rglob('*.png'))) == 40


def test_an_interrupt_leaves_no_manifest_and_no_half_file(streamed_set, tmp_path):
    with pytest.raises(KeyboardInterrupt), streamed_set(tmp_path, {}) as prepared:
        prepared.add('train', 'train/0.png', '0', lambda: flat(0))
        raise KeyboardInterrupt
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ['prepared.json']


def test_no_more_images_are_held_than_keep_the_threads_busy(streamed_set, tmp_path, monkeypatch):
    monkeypatch.setattr('os.cpu_count', lambda: 2)
    gate, added = threading.Event(), []

    def read(i):
        assert gate.wait(10)
        return flat(i)

    def add_60(prepared):
        for i in range(60):
            prepared.add('train', f'train/{i}.png', '', lambda i=i: read(i))
            added.append(i)

    with streamed_set(tmp_path, {}) as prepared:
        adder = threading.Thread(target=add_60, args=(prepared,))
        adder.start()
        adder.join(0.3)
        held = len(added)
        gate.set()
        adder.join()
    assert held == 4 * 2 and len(list(tmp_path.rglob('*.png'))) == 60
