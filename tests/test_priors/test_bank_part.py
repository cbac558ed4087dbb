import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from disp_plugin.priors import BankOrigin, PriorBank

KEYS = [f'{i:03d}.png' for i in range(50)]
CHOSEN = ['041.png', '003.png', '004.png', '020.png', '049.png']
ROWS = [3, 4, 20, 41, 49]
ORIGIN = BankOrigin(encoder_fingerprint='f00d')


def make_priors(num_views=2, dtype=np.float32):
    return np.random.default_rng(0).normal(size=(50, num_views, 7)).astype(dtype)


@pytest.fixture
def whole(tmp_path):
    PriorBank(KEYS, make_priors(), range(50), ORIGIN).save(tmp_path / 'bank')
    return PriorBank.open(tmp_path / 'bank')


@pytest.fixture
def copied():
    """The same images as a bank of their own."""
    return PriorBank([KEYS[i] for i in ROWS], make_priors()[ROWS], ROWS, ORIGIN)


def test_a_part_is_like_a_bank_of_its_images(whole, copied, tmp_path):
    part = whole.select(CHOSEN)
    assert list(part.keys) == sorted(CHOSEN)
    assert (len(part), part.num_views, part.prior_dim, part.path) == (5, 2, 7, None)
    np.testing.assert_array_equal(part.priors, make_priors()[ROWS])
    assert not part.priors.flags.writeable
    np.testing.assert_array_equal(part.file_sizes, ROWS)
    flips = [False, True, True, False, True]
    expected = make_priors()[[int(key[:3]) for key in CHOSEN], np.array(flips, int)]
    np.testing.assert_array_equal(part.lookup(CHOSEN, flips), expected)
    np.testing.assert_array_equal(torch.cat(list(part.iter_chunks(2))), make_priors()[ROWS])
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    assert torch.equal(part.sample(9, generators[0]), copied.sample(9, generators[1]))
    assert part.mean_cosine() == copied.mean_cosine()
    assert part.origin == ORIGIN
    part.verify()
    for bank, name in [(part, 'part'), (copied, 'copied')]:
        bank.save(tmp_path / name)
    assert (tmp_path / 'part').read_bytes() == (tmp_path / 'copied').read_bytes()
    assert part.fingerprint == copied.fingerprint


def test_a_part_lacks_the_images_that_were_not_chosen(whole):
    part = whole.select(CHOSEN)
    assert '000.png' not in part.keys
    with pytest.raises(ValueError, match='the part of 5 images of prior bank .*bank has no prior'):
        part.lookup(['000.png'])
    for keys, message in [(['x'], "no prior for image 'x'"), (['003.png'] * 2, 'comes twice')]:
        with pytest.raises(ValueError, match=message):
            whole.select(keys)
    with pytest.raises(ValueError, match='no image of prior bank'):
        whole.select([])


def test_a_part_of_a_part_and_a_pickled_one_are_the_same_images(whole):
    part = pickle.loads(pickle.dumps(whole.select(CHOSEN)))
    np.testing.assert_array_equal(part.priors, make_priors()[ROWS])
    inner = part.select(['020.png', '003.png'])
    np.testing.assert_array_equal(inner.priors, make_priors()[[3, 20]])
    assert list(inner.file_sizes) == [3, 20]


def test_priors_of_a_part_stay_in_the_file(tmp_path):
    num, dim = 6000, 2048
    keys = [f'{i:04d}' for i in range(num)]
    PriorBank(keys, np.ones((num, dim), np.float32)).save(tmp_path / 'bank')

    def anonymous_kilobytes():
        lines = Path('/proc/self/status').read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith('RssAnon'))

    whole = PriorBank.open(tmp_path / 'bank')
    before = anonymous_kilobytes()
    part = whole.select(keys[1:])
    assert sum(float(part.lookup([key])[0, 0]) for key in keys[1:]) == num - 1
    assert anonymous_kilobytes() - before < 4000  # of 48,000
    assert part.priors.shape == (num - 1, 1, dim)  # of more than one block
    assert (part.priors == 1).all()
