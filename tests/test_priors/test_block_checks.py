import importlib
import multiprocessing
import re
import sys
import zlib

import numpy as np
import pytest
from safetensors.numpy import load_file
from torch.utils.data import DataLoader

from disp_plugin.priors import LoadPrior, PriorBank, bank_file, block_checks
from disp_plugin.priors.block_checks import BlockSums

KEYS = [f'folder/{i:04d}.png' for i in range(600)]
BLOCK = 4096


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A bank of 600 images whose blocks hold 64 rows of 64 bytes each."""
    monkeypatch.setattr(bank_file, 'BLOCK_BYTES', BLOCK)
    monkeypatch.setattr(block_checks.BlockSums.__init__, '__defaults__', (BLOCK,))
    priors = np.random.default_rng(0).normal(size=(600, 2, 16)).astype(np.float16)
    PriorBank(KEYS, priors, range(1, 601)).save(tmp_path / 'bank')
    return tmp_path / 'bank'


def place_of(file, name):
    """Where a tensor begins and ends in the file."""
    raw = file.read_bytes()
    start = 8 + int.from_bytes(raw[:8], 'little')
    match = re.search(rb'"%s": \{[^}]*"data_offsets": \[(\d+), (\d+)\]' % name.encode(), raw)
    return start + int(match[1]), start + int(match[2])


def alter(file, position):
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(bytes(content))


@pytest.mark.parametrize('lengths', [[10], [4], [3, 5, 1, 1], [0, 10], [1] * 10])
def test_sums_are_those_of_each_block_however_it_comes(lengths):
    data, sums, begin = bytes(range(10)), BlockSums(4), 0
    for length in lengths:
        sums.update(data[begin : begin + length])
        begin += length
    expected = [zlib.crc32(data[i : min(i + 4, begin)]) for i in range(0, begin, 4)]
    assert sums.finish().tolist() == expected


def test_file_has_the_checksum_of_its_header_and_of_every_block_behind(file):
    raw, sums = file.read_bytes(), load_file(file)['checksums']
    start, end = place_of(file, 'checksums')
    assert sums[0] == zlib.crc32(raw[:start])
    body = raw[end:]
    expected = [zlib.crc32(body[i : i + BLOCK]) for i in range(0, len(body), BLOCK)]
    assert sums[1:].tolist() == expected


def test_an_altered_prior_is_named_when_its_block_is_first_used(file):
    begin, _ = place_of(file, 'priors')
    area = place_of(file, 'checksums')[1]
    alter(file, begin + 300 * 64 + 5)
    bank = PriorBank.open(file)
    block = (begin + 300 * 64 - area) // BLOCK
    first = max(0, -(-(area + block * BLOCK - begin - 63) // 64))
    last = (area + (block + 1) * BLOCK - 1 - begin) // 64
    inside = set(range(first, last + 1))
    assert 300 in inside and len(inside) in (64, 65)
    for row in range(600):
        if row not in inside:
            bank.lookup([KEYS[row]], row % 2 == 0)
    with pytest.raises(ValueError) as error:
        bank.lookup([KEYS[10], KEYS[300]])
    total = len(load_file(file)['checksums']) - 1
    assert str(error.value) == (
        f'prior bank {file} was altered: block {block + 1} of {total} '
        f'(bytes {area + block * BLOCK} to {area + (block + 1) * BLOCK} of the file; priors from '
        f'row {first} to {last}) is not what was written; copy it again or rebuild it: '
        f'python tools/build_prior_bank.py CONFIG --bank-file {file} --overwrite (and the '
        '--cfg-options of your run)'
    )


@pytest.mark.parametrize(
    'use',
    [
        lambda bank: bank.sample(2000),
        lambda bank: list(bank.iter_chunks(100)),
        lambda bank: bank.select(KEYS[290:310]).priors,
        lambda bank: bank.select(KEYS[290:310]).take(np.arange(20)),
        lambda bank: list(bank.select(KEYS[290:310]).iter_chunks(7)),
        lambda bank: bank.mean_cosine(),
        lambda bank: bank.take(np.array([300]), 1),
        lambda bank: bank.verify(),
        lambda bank: bank.save(bank.path.parent / 'copy'),
    ],
)
def test_no_way_of_use_goes_round_the_checks(file, use):
    alter(file, place_of(file, 'priors')[0] + 300 * 64 + 5)
    with pytest.raises(ValueError, match=r'was altered: block .* priors from row'):
        use(PriorBank.open(file))
    with pytest.raises(ValueError, match=r'was altered: block .* priors from row'):
        use(PriorBank.open(file, mmap=False))


@pytest.mark.parametrize('name', ['key_offsets', 'key_table', 'key_bytes', 'file_sizes'])
def test_altered_keys_and_sizes_are_named_at_first_use(file, name):
    begin, end = place_of(file, name)
    alter(file, begin + (end - begin) // 2)
    bank = PriorBank.open(file)
    with pytest.raises(ValueError, match=rf'was altered: block .*{name} from (row|byte) \d+'):
        _ = bank.file_sizes if name == 'file_sizes' else [bank.lookup([key]) for key in KEYS]
    with pytest.raises(ValueError, match=rf'was altered: block .*{name} from (row|byte) \d+'):
        PriorBank.open(file).verify()


def test_an_altered_header_or_checksum_is_found(file):
    content = file.read_bytes()
    alter(file, content.index(b'"fingerprint": "') + 20)
    with pytest.raises(ValueError, match='was altered: its header is not what was written'):
        PriorBank.open(file)
    file.write_bytes(content)
    alter(file, place_of(file, 'checksums')[1] - 8)
    with pytest.raises(ValueError, match='was altered: block'):
        PriorBank.open(file).verify()


def count_checks(bank, monkeypatch):
    counted = []
    check = bank._checks._check

    def count(block):
        counted.append(block)
        check(block)

    monkeypatch.setattr(bank._checks, '_check', count)
    return counted


def test_opening_checks_nothing_and_a_block_is_checked_once(file, monkeypatch):
    bank = PriorBank.open(file)
    counted = count_checks(bank, monkeypatch)
    assert counted == []
    bank.lookup([KEYS[0]])
    first = len(counted)
    assert 1 <= first <= 6  # slot, offsets, key and prior: not the whole file
    for _ in range(2):
        bank.lookup(KEYS, True)
        bank.sample(1000)
    assert len(counted) == len(set(counted))
    bank.verify()
    assert len(counted) > len(set(counted))


def test_rows_longer_than_blocks_are_checked_in_all_their_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(bank_file, 'BLOCK_BYTES', BLOCK)
    monkeypatch.setattr(block_checks.BlockSums.__init__, '__defaults__', (BLOCK,))
    PriorBank(['a', 'b', 'c'], np.ones((3, 5000), np.float32)).save(tmp_path / 'bank')
    alter(tmp_path / 'bank', place_of(tmp_path / 'bank', 'priors')[0] + 30_000)  # middle of row 1
    bank = PriorBank.open(tmp_path / 'bank')
    bank.lookup(['a', 'c'])
    with pytest.raises(ValueError, match=r'priors from row 1 to 1\)'):
        bank.lookup(['b'])


def test_forked_processes_share_what_was_checked(file, monkeypatch):
    bank = PriorBank.open(file)
    process = multiprocessing.get_context('fork').Process(target=bank.lookup, args=(KEYS,))
    process.start()
    process.join()
    counted = count_checks(bank, monkeypatch)
    bank.lookup(KEYS)
    assert counted == []


MODULE = """
from pathlib import Path
from torch.utils.data import Dataset

def anonymous_kilobytes():
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith('RssAnon'))

class Look(Dataset):
    def __init__(self, *steps):
        self.steps = steps
    def __len__(self):
        return 1
    def __getitem__(self, _):
        grown, total = [], 0
        for step in self.steps:
            before = anonymous_kilobytes()
            for i in range(4000):
                total += float(step.transform({'image_key': str(i)})['gt_prior'][1])
            grown.append(anonymous_kilobytes() - before)
        return total, grown
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='measures in /proc')
@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_workers_share_the_pages_of_the_file(tmp_path, monkeypatch, method):
    # Another interpreter finds a class by the name of its module, which a test file has not.
    (tmp_path / 'look_in_worker.py').write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    look = importlib.import_module('look_in_worker')
    steps = []
    for dim in (8, 5000):  # the small one first, for what any use of memory costs once
        priors = np.ones((4000, dim), np.float16)
        PriorBank([f'{i}' for i in range(4000)], priors).save(tmp_path / f'{dim}')
        steps.append(LoadPrior(tmp_path / f'{dim}'))
    loader = DataLoader(look.Look(*steps), num_workers=1, multiprocessing_context=method)
    (total, grown) = next(iter(loader))
    monkeypatch.delitem(sys.modules, 'look_in_worker')
    assert float(total) == 2 * 4000
    assert int(grown[1]) < 10_000  # kilobytes, of 40,000 in the file
