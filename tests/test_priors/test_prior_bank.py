import errno
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from disp_plugin.priors import BankOrigin, DamagedBankError, PriorBank, prior_bank

KEYS = ['b/2.png', 'a.png', 'é/ü 1.jpg', 'b/10.png', 'b.png']
ORIGIN = BankOrigin(
    encoder={'architecture': 'vgg16', 'layer': 'fc7'},
    encoder_fingerprint='f00d',
    encoder_config={'type': 'TorchvisionEncoder', 'model': 'vgg16'},
    view={'image_size': 8},
    dataset_fingerprint='cafe',
)


def make_priors(num_views=2, dtype=np.float32, num=5, dim=7):
    return np.random.default_rng(0).normal(size=(num, num_views, dim)).astype(dtype)


@pytest.fixture
def bank_file(tmp_path):
    file = tmp_path / 'priors' / 'bank.safetensors'
    PriorBank(KEYS, make_priors(), [5, 4, 3, 2, 1], ORIGIN).save(file)
    return file


@pytest.mark.parametrize('dtype', [np.float16, np.float32])
@pytest.mark.parametrize('num_views', [1, 2])
def test_round_trip_keeps_every_prior_by_its_key(tmp_path, dtype, num_views):
    priors = make_priors(num_views, dtype)
    PriorBank(KEYS, priors, [5, 4, 3, 2, 1], ORIGIN).save(tmp_path / 'bank')
    bank = PriorBank.open(tmp_path / 'bank')
    assert (bank.num_images, bank.num_views, bank.prior_dim) == (5, num_views, 7)
    assert list(bank.keys) == sorted(KEYS)
    assert bank.priors.dtype == dtype
    assert bank.origin == ORIGIN
    for view in range(num_views):
        found = bank.lookup(KEYS, flipped=bool(view))
        assert found.dtype == torch.float32
        np.testing.assert_array_equal(found, priors[:, view].astype(np.float32))
    assert dict(zip(bank.keys, bank.file_sizes, strict=True)) == dict(
        zip(KEYS, [5, 4, 3, 2, 1], strict=True)
    )


def test_file_is_plain_safetensors_that_another_library_reads(bank_file):
    tensors = load_file(bank_file)
    keys = [bytes(key).rstrip(b'\0').decode() for key in tensors['keys']]
    expected = dict(zip(KEYS, make_priors(), strict=True))
    for key, rows in zip(keys, tensors['priors'], strict=True):
        np.testing.assert_array_equal(rows, expected[key])
    assert b'pickle' not in bank_file.read_bytes()


def test_lookup_of_views_by_key_and_of_repeated_keys(bank_file):
    bank, priors = PriorBank.open(bank_file), make_priors()
    found = bank.lookup(['b.png', 'a.png', 'b.png'], [True, False, False])
    np.testing.assert_array_equal(found, [priors[4, 1], priors[1, 0], priors[4, 0]])
    with pytest.raises(ValueError, match='flipped has 2 entries for 1 keys'):
        bank.lookup(['a.png'], [True, False])


def test_changing_what_was_looked_up_leaves_the_bank_alone(bank_file):
    bank = PriorBank.open(bank_file)
    bank.lookup(['a.png']).zero_()
    np.testing.assert_array_equal(bank.lookup(['a.png'])[0], make_priors()[1, 0])
    with pytest.raises(ValueError, match='read-only'):
        bank.priors[0] = 0


def test_missing_key_is_named_with_the_bank_and_the_way_out(bank_file):
    with pytest.raises(ValueError) as error:
        PriorBank.open(bank_file).lookup(['a.png', 'c.png'])
    assert str(error.value) == (
        f"prior bank {bank_file} has no prior for image 'c.png' (it has 5 images, from 'a.png' to "
        f"'é/ü 1.jpg'); rebuild it for this data set: python tools/build_prior_bank.py CONFIG "
        f'--bank-file {bank_file} --overwrite (and the --cfg-options of your run)'
    )


@pytest.mark.parametrize('key', ['', 'a', 'a.png ', 'b/1', 'zzz', 'é', 'é/ü 1.jpgx'])
def test_keys_that_resemble_others_are_not_found(bank_file, key):
    rows, is_there = PriorBank.open(bank_file).search(['a.png', key])
    assert is_there.tolist() == [True, False] and rows[0] == 0
    with pytest.raises(ValueError, match='has no prior for image'):
        PriorBank.open(bank_file).find(['b.png', key])


def test_every_key_of_many_is_found_at_its_row():
    keys = sorted({f'{n:x}/{n * 7919 % 1009}{chr(60 + n % 900)}.png' for n in range(3000)})
    bank = PriorBank(keys, np.arange(len(keys), dtype=np.float32)[:, None])
    np.testing.assert_array_equal(bank.lookup(keys)[:, 0], np.arange(len(keys)))
    assert bank.keys == keys


def test_two_keys_with_one_hash_are_named(monkeypatch):
    monkeypatch.setattr(prior_bank, '_hash_keys', lambda keys: np.array([7, 3, 7]))
    with pytest.raises(ValueError, match="keys 'a' and 'c' have the same hash; rename one"):
        PriorBank(['a', 'b', 'c'], torch.eye(3))


def test_flipped_prior_of_a_bank_without_flips_says_to_rebuild(tmp_path):
    PriorBank(KEYS, make_priors(1)).save(tmp_path / 'bank')
    with pytest.raises(
        ValueError,
        match='holds no priors of flipped images.*rebuild it from a data set with flip=True',
    ):
        PriorBank.open(tmp_path / 'bank').lookup(['a.png'], flipped=True)


@pytest.mark.parametrize(
    ('keys', 'priors', 'message'),
    [
        (['a', 'b', 'a'], torch.ones(3, 2), "image key 'a' comes twice"),
        (['a', 'b'], torch.ones(3, 2), r'for each of 2 image keys, but have shape \(3, 2\)'),
        (['a', 'b'], torch.ones(2, 3, 2), r'have shape \(2, 3, 2\)'),
        ([], torch.ones(0, 2), r'have shape \(0, 2\)'),
        (['a', 'b'], torch.tensor([[0.0], [np.nan]]), "prior of image 'b' is not finite"),
        (['b', 'a'], torch.tensor([[np.inf], [0.0]]), "prior of image 'b' is not finite"),
    ],
)
def test_rows_that_make_no_bank_are_refused(keys, priors, message):
    with pytest.raises(ValueError, match=message):
        PriorBank(keys, priors)


def test_missing_file_names_the_command_that_builds_it(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        PriorBank.open(tmp_path / 'none')
    assert str(error.value) == (
        f'there is no prior bank {tmp_path / "none"}; build it first: '
        f'python tools/build_prior_bank.py CONFIG --bank-file {tmp_path / "none"} '
        '(and the --cfg-options of your run)'
    )


def test_file_cut_short_anywhere_is_refused(bank_file):
    content = bank_file.read_bytes()
    for size in [0, 5, 8, 100, len(content) // 2, len(content) - 1]:
        bank_file.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r'truncated|not a prior bank'):
            PriorBank.open(bank_file)
    bank_file.write_bytes(content + b'x')
    with pytest.raises(ValueError, match='it is altered'):
        PriorBank.open(bank_file)


@pytest.mark.parametrize(
    'content',
    [b'\x89PNG' * 9, b'\x05' + bytes(7) + b'hello', b'\x02' + bytes(7) + b'[]', bytes(64)],
)
def test_foreign_file_is_refused(tmp_path, content):
    (tmp_path / 'bank').write_bytes(content)
    with pytest.raises(ValueError, match='is not a prior bank'):
        PriorBank.open(tmp_path / 'bank')
    save_file({'conv.weight': np.zeros(3)}, tmp_path / 'bank')
    with pytest.raises(ValueError, match=r'another safetensors file \(it holds conv.weight, \.'):
        PriorBank.open(tmp_path / 'bank')


@pytest.mark.parametrize('tensor', ['file_sizes', 'key_hashes', 'hashed_rows', 'priors', 'keys'])
def test_verify_finds_a_single_altered_byte(bank_file, tensor):
    PriorBank.open(bank_file).verify()
    content = bytearray(bank_file.read_bytes())
    start = 8 + int.from_bytes(content[:8], 'little')
    content[start + json.loads(content[8:start])[tensor]['data_offsets'][1] - 9] ^= 1
    bank_file.write_bytes(bytes(content))
    with pytest.raises(DamagedBankError, match='was altered: its checksum differs'):
        PriorBank.open(bank_file).verify()


def test_an_altered_header_is_told_at_opening(bank_file):
    content = bank_file.read_bytes()
    length = int.from_bytes(content[:8], 'little')
    for place in range(0, 8 + length, 7):
        altered = bytearray(content)
        altered[place] ^= 4
        bank_file.write_bytes(bytes(altered))
        with pytest.raises(ValueError, match=r'is damaged|not a prior bank|of the format'):
            PriorBank.open(bank_file)


def test_a_bank_of_another_version_says_so(bank_file):
    content = bank_file.read_bytes()
    bank_file.write_bytes(content.replace(b'"version": "3"', b'"version": "1"'))
    with pytest.raises(ValueError, match=r'has version 1 of the format, and this .*rebuild it'):
        PriorBank.open(bank_file)


def test_a_part_keeps_priors_sizes_and_origin_and_reads_them_from_the_file(bank_file, tmp_path):
    whole = PriorBank.open(bank_file)
    part = whole.restrict_to(['b.png', 'é/ü 1.jpg', 'a.png']).restrict_to(['b.png', 'a.png'])
    assert part.keys == ['a.png', 'b.png'] and part.num_images == 2
    np.testing.assert_array_equal(part.lookup(['b.png'], True)[0], make_priors()[4, 1])
    np.testing.assert_array_equal(part.priors, make_priors()[[1, 4]])
    assert part.origin == ORIGIN and list(part.file_sizes) == [4, 1]
    same = pickle.loads(pickle.dumps(part))
    np.testing.assert_array_equal(same.priors, part.priors)
    part.save(tmp_path / 'part')
    np.testing.assert_array_equal(PriorBank.open(tmp_path / 'part').priors, part.priors)
    again = whole.restrict_to(['a.png', 'b.png'])
    assert again.fingerprint == whole.restrict_to(['b.png', 'a.png']).fingerprint
    assert (
        len({whole.fingerprint, again.fingerprint, whole.restrict_to(['a.png']).fingerprint}) == 3
    )
    with pytest.raises(ValueError, match='no image of .* was chosen'):
        whole.restrict_to([])


def test_pickled_bank_is_its_path_and_reopens(bank_file):
    bank = PriorBank.open(bank_file)
    text = pickle.dumps(bank)
    assert len(text) < 500
    np.testing.assert_array_equal(pickle.loads(text).lookup(KEYS), bank.lookup(KEYS))
    PriorBank(KEYS, make_priors() + 1).save(bank_file)
    with pytest.raises(ValueError, match='was rebuilt while it was in use'):
        pickle.loads(text)
    in_memory = PriorBank(KEYS, make_priors(), origin=ORIGIN)
    copy = pickle.loads(pickle.dumps(in_memory))
    assert (copy.fingerprint, copy.origin) == (in_memory.fingerprint, ORIGIN)


@pytest.mark.parametrize(
    ('number', 'words'),
    [
        (errno.ENOSPC, 'no space left to write {}; free some'),
        (errno.EACCES, 'no permission to write {}; change that of its folder'),
        (errno.EIO, 'cannot write {}: Input/output error; fix that'),
    ],
)
def test_a_bank_that_cannot_be_written_leaves_the_old_one(bank_file, monkeypatch, number, words):
    def fail(handle):
        raise OSError(number, os.strerror(number))

    old = bank_file.read_bytes()
    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError) as error:
        PriorBank(KEYS, make_priors() + 1).save(bank_file)
    expected = f'{words.format(bank_file)}, or choose another place with --bank-file'
    assert str(error.value) == expected
    assert bank_file.read_bytes() == old
    assert os.listdir(bank_file.parent) == [bank_file.name]


def test_opened_bank_is_mapped_not_read(tmp_path):
    num, dim = 6000, 2048  # more than what malloc keeps at hand when it is freed
    PriorBank([f'{i}' for i in range(num)], np.ones((num, dim), np.float32)).save(tmp_path / 'bank')

    def anonymous_kilobytes():
        lines = Path('/proc/self/status').read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith('RssAnon'))

    before = anonymous_kilobytes()
    bank = PriorBank.open(tmp_path / 'bank')
    assert sum(float(bank.lookup([str(i)])[0, 0]) for i in range(num)) == num
    assert anonymous_kilobytes() - before < 4000  # of 48,000


def test_fingerprint_is_of_the_content_alone(tmp_path, bank_file):
    bank = PriorBank.open(bank_file)
    order = [3, 1, 4, 0, 2]
    sizes = np.array([5, 4, 3, 2, 1])
    same = PriorBank([KEYS[i] for i in order], make_priors()[order], sizes[order], ORIGIN)
    same.save(tmp_path / 'elsewhere')
    assert same.fingerprint == bank.fingerprint
    assert PriorBank.open(tmp_path / 'elsewhere').fingerprint == bank.fingerprint
    changed = make_priors()
    changed[2, 1, 3] += 1e-3
    others = [
        PriorBank(KEYS, changed, sizes, ORIGIN),
        PriorBank(['x', *KEYS[1:]], make_priors(), sizes, ORIGIN),
        PriorBank(KEYS, make_priors(), sizes + 1, ORIGIN),
        PriorBank(KEYS, make_priors(), sizes, BankOrigin()),
    ]
    prints = {bank.fingerprint, *(other.fingerprint for other in others)}
    assert len(prints) == 5


def test_near_copies_are_pairs_whose_priors_point_the_same_way_from_their_mean(rng):
    priors = torch.from_numpy(rng(0).standard_normal((600, 2, 32)).astype(np.float32)) + 5
    priors[550, 0] = priors[3, 0] + 0.01
    priors[20, 1] = priors[7, 0]  # a mirrored copy
    keys = [f'{row:03d}' for row in range(600)]
    pairs = PriorBank(keys, priors).find_near_copies()
    assert [sorted(pair[:2]) for pair in pairs] == [['007', '020'], ['003', '550']]
    assert pairs[0][2] == pytest.approx(1) and 0.99 < pairs[1][2] < 1
    assert PriorBank(keys, priors).find_near_copies(least=1.5) == []
    assert PriorBank(['a'], torch.ones(1, 3)).find_near_copies() == []


def test_mean_cosine_is_that_of_all_pairs(bank_file):
    bank = PriorBank.open(bank_file)
    rows = bank.priors[:, 0].astype(np.float64)
    cosines = [
        rows[i] @ rows[j] / np.linalg.norm(rows[i]) / np.linalg.norm(rows[j])
        for i in range(5)
        for j in range(i)
    ]
    assert bank.mean_cosine() == pytest.approx(np.mean(cosines), abs=1e-12)
    assert PriorBank(['a'], torch.ones(1, 3)).mean_cosine() == 0
