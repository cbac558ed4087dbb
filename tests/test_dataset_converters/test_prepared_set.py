import hashlib
import json

import numpy as np
import pytest


@pytest.fixture
def prepared_set(converter):
    return converter('prepared_set')


def test_rank_is_the_order_of_sha256_whatever_the_order_of_the_names(prepared_set):
    names = [f'image_{i}' for i in range(50)]
    expected = sorted(names, key=lambda n: hashlib.sha256(b'7:' + n.encode()).hexdigest())
    assert prepared_set.rank(names, seed=7) == expected
    assert prepared_set.rank(reversed(names), seed=7) == expected
    assert prepared_set.rank(names, seed=8) != expected


def test_a_smaller_choice_is_part_of_a_larger_one(prepared_set):
    names = [f'image_{i}' for i in range(100)]
    small = prepared_set.choose(names, 10, seed=0, what='images')
    large = prepared_set.choose(names, 20, seed=0, what='images')
    assert len(set(small)) == 10 and set(small) < set(large)


def test_choosing_more_than_there_is_names_both_numbers(prepared_set):
    with pytest.raises(ValueError, match='5 birds are needed but only 2 were found'):
        prepared_set.choose(['a', 'b'], 5, seed=0, what='birds')


def test_to_square_cuts_the_center_and_leaves_fitting_pixels_alone(prepared_set):
    img = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    assert np.array_equal(prepared_set.to_square(img, 8), img[:, 2:10])
    flat = np.full((20, 10, 3), 77, np.uint8)
    assert np.array_equal(prepared_set.to_square(flat, 5), np.full((5, 5, 3), 77, np.uint8))


def write(prepared_set, folder, seed=0, read=None):
    prepared = prepared_set.PreparedSet(folder, {'seed': seed})
    chosen = {f'train/{i}.png': str(i) for i in range(4)}
    prepared.write_images('train', chosen, read or (lambda i: np.full((2, 2), int(i), np.uint8)))


def test_an_interrupted_run_leaves_no_manifest_and_the_next_one_goes_on(prepared_set, tmp_path):
    def fail_at_2(name):
        if name == '2':
            raise KeyboardInterrupt
        return np.zeros((2, 2), np.uint8)

    with pytest.raises(KeyboardInterrupt):
        write(prepared_set, tmp_path, read=fail_at_2)
    assert not (tmp_path / 'train.txt').exists()
    asked = []
    write(prepared_set, tmp_path, read=lambda i: asked.append(i) or np.full((2, 2), 9, np.uint8))
    assert asked == ['2', '3']
    assert (tmp_path / 'train.txt').read_text().split() == [f'train/{i}.png' for i in range(4)]
    assert not list(tmp_path.rglob('*.part'))


def test_a_second_run_that_asks_for_something_else_is_refused(prepared_set, tmp_path):
    write(prepared_set, tmp_path)
    with pytest.raises(ValueError, match='prepared with seed=0, not 1.*--out'):
        write(prepared_set, tmp_path, seed=1)
    assert json.loads((tmp_path / 'prepared.json').read_text()) == {'seed': 0}


def test_chosen_tsv_tells_where_each_image_came_from(prepared_set, tmp_path):
    write(prepared_set, tmp_path)
    rows = [line.split('\t') for line in (tmp_path / 'chosen.tsv').read_text().splitlines()]
    assert rows == [[f'train/{i}.png', str(i)] for i in range(4)]


@pytest.mark.parametrize('folder', ['..', 'a/b', 'a\\b', '', 'a\nb'])
def test_a_key_cannot_leave_its_split(prepared_set, folder):
    with pytest.raises(ValueError, match='cannot name a folder'):
        prepared_set.make_key('train', 'x.jpg', folder)
    assert prepared_set.make_key('train', '../../x.jpg', 'bird') == 'train/bird/x.png'
