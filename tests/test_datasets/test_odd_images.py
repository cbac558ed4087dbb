"""What is odd about images is told with their names, before any work."""

import os

import numpy as np
import pytest
from PIL import Image

from disp_plugin.datasets import ImageFolderDataset, choose_rows, odd_images, tell_odd_images
from disp_plugin.datasets.odd_images import find_copies, find_odd_images


def write(path, pixels):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)
    return str(path)


def test_nothing_is_odd_about_a_usual_set(tmp_path, make_image_folder):
    assert find_odd_images(ImageFolderDataset(make_image_folder(tmp_path, 6), image_size=16)) == []


def test_copies_and_links_are_told_with_their_names(tmp_path, make_image_folder):
    folder = make_image_folder(tmp_path, 6)
    content = (folder / 'image_0002.png').read_bytes()
    (folder / 'copy.png').write_bytes(content)
    os.link(folder / 'image_0002.png', folder / 'hard.png')
    (folder / 'soft.png').symlink_to('image_0002.png')
    (folder / 'longer.png').write_bytes(content + b'\0')
    same_size = bytearray(content)
    same_size[-1] ^= 1
    (folder / 'other.png').write_bytes(same_size)
    (line,) = find_odd_images(ImageFolderDataset(folder, image_size=16))
    shown = 'copy.png = hard.png = image_0002.png = ...'
    assert line.startswith(f'3 of 11 images of {folder} are copies of others, byte for byte')
    assert f': {shown}; leave copies out' in line


def test_only_files_of_one_size_and_head_are_read_whole(tmp_path, monkeypatch):
    head = bytes(odd_images._HEAD_BYTES)
    contents = {'a': head + b'1', 'b': head + b'1', 'c': head + b'2', 'd': b'x' + head, 'e': b'y'}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    split, calls = odd_images._split, []

    def record(group, files, num_bytes):
        calls.append((sorted(os.path.basename(files[f][0]) for f in group), num_bytes))
        return split(group, files, num_bytes)

    monkeypatch.setattr(odd_images, '_split', record)
    paths = [str(tmp_path / name) for name in (*contents, 'gone')]
    assert find_copies(paths) == [paths[:2]]
    assert (['a', 'b', 'c', 'd'], odd_images._HEAD_BYTES) in calls
    assert (['a', 'b', 'c'], None) in calls


def test_images_that_are_much_enlarged_are_told(tmp_path):
    for size in (1, 15, 16, 40):
        write(tmp_path / f'{size}.png', np.full((40, size, 3), size, np.uint8))
    (line,) = find_odd_images(ImageFolderDataset(tmp_path, image_size=32))
    assert f'2 of 4 images of {tmp_path} are enlarged more than twice to image_size=32' in line
    assert 'such as 1.png (1x40), 15.png (15x40);' in line
    assert find_odd_images(ImageFolderDataset(tmp_path)) == []


@pytest.mark.parametrize('bits', [1, 8, 10, 12, 13, 14, 16])
def test_16_bit_images_that_are_almost_black_are_told_with_their_bits(tmp_path, rng, bits):
    for index in range(3):
        gray = rng(index).integers(0, 2**bits, (8, 8)).astype(np.uint16)
        gray[0, 0] = 2**bits - 1
        write(tmp_path / f'{index}.png', gray)
    write(tmp_path / 'white.png', np.full((8, 8), 255, np.uint8))  # of 8 bits
    lines = find_odd_images(ImageFolderDataset(tmp_path))
    assert len(lines) == (bits < 13)
    if 8 <= bits < 13:
        assert f'such as {2**bits - 1} for {bits} bits' in lines[0]
    level = 2**bits - 1
    assert find_odd_images(ImageFolderDataset(tmp_path, white_level=level)) == []
    if bits == 12:
        (line,) = find_odd_images(ImageFolderDataset(tmp_path, white_level=40000))
        assert 'white_level is 40000, which seems too high' in line


def test_damaged_images_and_other_data_sets_are_left_to_others(tmp_path):
    (tmp_path / 'a.png').write_bytes(b'no image')
    assert find_odd_images(ImageFolderDataset(tmp_path, image_size=8)) == []
    tell_odd_images([1, 2])


def test_of_very_many_images_blocks_of_neighbors_are_looked_at():
    assert choose_rows(1500, 1500) == list(range(1500))
    assert choose_rows(1501, 1500) == [*range(500), *range(1000, 1500)]
    assert 9000 <= len(choose_rows(10**6, 10**4)) <= 10**4
