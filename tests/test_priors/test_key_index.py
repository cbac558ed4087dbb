import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from disp_plugin.priors import PriorBank
from disp_plugin.priors.key_index import KeyIndex

KEYS = sorted({f'{n % 97:x}/é {n * 7919 % 10007}.png' for n in range(5000)})


def hashed(keys):
    index = KeyIndex.from_keys(keys)
    return KeyIndex(index.key_bytes, index.offsets, *index.hash_table())


@pytest.mark.parametrize('num', [1, 2, 3, 64, 5000])
def test_every_key_is_found_at_its_row_and_no_other_is(num):
    index = hashed(KEYS[:num])
    assert [index.find(key) for key in index] == list(range(num))
    assert {index.find(key + end) for key in KEYS[:200] for end in 'x\0 '} == {-1}
    assert index.find('') == -1
    index.check_sorted()


def test_table_and_bisection_agree():
    index, plain = hashed(KEYS[::2]), KeyIndex.from_keys(KEYS[::2])
    assert [index.find(key) for key in KEYS] == [plain.find(key) for key in KEYS]


def test_a_key_takes_as_many_steps_in_a_large_bank_as_in_a_small_one():
    def mean_steps(keys):
        index, reads = hashed(keys), [0]

        def count(first, last):
            reads[0] += 1

        index._touch_table = count
        for key in keys:
            index.find(key)
        return reads[0] / len(keys)

    steps = mean_steps(KEYS[:50]), mean_steps(KEYS)
    assert max(steps) < 2  # 1.5 expected with half of the slots free; bisection takes 6 and 12


def test_keys_of_one_hash_are_all_found(monkeypatch):
    monkeypatch.setattr('disp_plugin.priors.key_index._digest', lambda key: b'\xff' * 8)
    index = hashed(KEYS[:40])
    assert [index.find(key) for key in KEYS[:41]] == [*range(40), -1]


def test_table_of_other_keys_is_noticed():
    index = KeyIndex.from_keys(KEYS[:50])
    table, num_slots = KeyIndex.from_keys(KEYS[1:51]).hash_table()
    with pytest.raises(ValueError, match='table of image keys is not that of the keys'):
        KeyIndex(index.key_bytes, index.offsets, table, num_slots).check_sorted()


def save_as_earlier(bank_file, target, change=lambda tensors, metadata: None):
    """Write a bank as earlier versions did: without table and checksums."""
    tensors = load_file(bank_file)
    with safe_open(bank_file, 'numpy') as file:
        metadata = file.metadata()
    del tensors['checksums'], metadata['block_bytes'], tensors['key_table']
    metadata = {name: metadata[name] for name in ('format', 'version', 'origin', 'fingerprint')}
    change(tensors, metadata)
    save_file(tensors, target, metadata)


@pytest.fixture
def bank_file(tmp_path):
    priors = np.random.default_rng(0).normal(size=(500, 2, 3)).astype(np.float32)
    PriorBank(KEYS[:500], priors).save(tmp_path / 'bank')
    return tmp_path / 'bank'


def test_a_bank_of_an_earlier_version_is_opened_by_bisection(bank_file, tmp_path):
    save_as_earlier(bank_file, tmp_path / 'earlier')
    bank, earlier = PriorBank.open(bank_file), PriorBank.open(tmp_path / 'earlier')
    assert bank.keys.table is not None and earlier.keys.table is None
    assert earlier.fingerprint == bank.fingerprint
    np.testing.assert_array_equal(earlier.lookup(KEYS[:500], True), bank.lookup(KEYS[:500], True))
    earlier.verify()
    assert earlier.file_sizes.sum() == 0

    def swap(tensors, metadata):
        tensors['key_offsets'][3] = 10**6

    save_as_earlier(bank_file, tmp_path / 'altered', swap)
    with pytest.raises(ValueError, match='do not fit together'):
        PriorBank.open(tmp_path / 'altered')


def test_a_table_by_a_hash_of_a_later_version_is_not_used(bank_file, tmp_path):
    tensors = load_file(bank_file)
    with safe_open(bank_file, 'numpy') as file:
        metadata = {**file.metadata(), 'key_hash': 'another'}
    del tensors['checksums'], metadata['block_bytes']
    save_file(tensors, tmp_path / 'later', metadata)
    later = PriorBank.open(tmp_path / 'later')
    assert later.keys.table is None
    np.testing.assert_array_equal(
        later.lookup(KEYS[:500]), PriorBank.open(bank_file).lookup(KEYS[:500])
    )


def test_the_table_is_not_part_of_the_fingerprint(bank_file, monkeypatch, tmp_path):
    bank = PriorBank.open(bank_file)
    monkeypatch.setattr('disp_plugin.priors.key_index._digest', lambda key: b'\xff' * 8)
    bank.save(tmp_path / 'other')
    other = load_file(tmp_path / 'other')['key_table']
    assert not np.array_equal(other, load_file(bank_file)['key_table'])
    with safe_open(tmp_path / 'other', 'numpy') as file:
        assert file.metadata()['fingerprint'] == bank.fingerprint
        assert json.loads(file.metadata()['origin'])['encoder'] == {}
