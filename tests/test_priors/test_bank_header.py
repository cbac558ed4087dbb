import json
import zlib

import numpy as np
import pytest

from disp_plugin.priors import BankOrigin, PriorBank
from disp_plugin.priors.bank_errors import DamagedBankError
from disp_plugin.priors.block_checks import BlockChecks

KEYS = ['a.png', 'b.png', 'c.png']
ORIGIN = BankOrigin(encoder={'layer': 'fc7'}, encoder_fingerprint='f00d')


def make_priors():
    return np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)


def change_header(content, change):
    """Rewrite the header; all that it says is as if it had been written so."""
    start = 8 + int.from_bytes(content[:8], 'little')
    header = json.loads(content[8:start])
    change(header)
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    text = len(text).to_bytes(8, 'little') + text
    checksum = zlib.crc32(text).to_bytes(8, 'little')
    return text + (checksum + content[start + 8 :] if 'checksums' in header else content[start:])


def drop_checksums(header):
    del header['checksums'], header['__metadata__']['block_bytes']


@pytest.fixture
def bank_file(tmp_path):
    PriorBank(KEYS, make_priors(), [3, 2, 1], ORIGIN).save(tmp_path / 'bank')
    return tmp_path / 'bank'


def flip_header_bits(path):
    """Flip the bits of the header, one at a time; say which, after each."""
    content = path.read_bytes()
    with open(path, 'r+b', buffering=0) as file:
        for position in range(8 + int.from_bytes(content[:8], 'little')):
            for bit in range(8):
                file.seek(position)
                file.write(bytes([content[position] ^ 1 << bit]))
                yield f'bit {bit} of byte {position}'
            file.seek(position)
            file.write(content[position : position + 1])


def test_no_flipped_bit_of_the_header_opens_a_bank_or_goes_unnamed(bank_file):
    num_found = 0
    for place in flip_header_bits(bank_file):
        with pytest.raises(ValueError) as error:
            PriorBank.open(bank_file)
        message = str(error.value)
        assert type(error.value) is DamagedBankError or 'is not a prior bank' in message, place
        assert str(bank_file) in message, place
        num_found += 1
    assert num_found == 8 * (8 + int.from_bytes(bank_file.read_bytes()[:8], 'little'))


def test_no_flipped_bit_of_an_earlier_bank_without_checksums_goes_unnamed(bank_file):
    bank_file.write_bytes(change_header(bank_file.read_bytes(), drop_checksums))
    PriorBank.open(bank_file).verify()
    for place in flip_header_bits(bank_file):
        try:
            bank = PriorBank.open(bank_file)
            bank.verify()
        except ValueError as error:
            assert str(bank_file) in str(error), place
        else:
            np.testing.assert_array_equal(bank.priors, make_priors(), place)
            assert bank.origin == ORIGIN, place
            np.testing.assert_array_equal(bank.lookup(KEYS), make_priors()[:, 0], place)


def test_checks_are_not_lost_with_their_tensor(bank_file):
    assert isinstance(PriorBank.open(bank_file)._checks, BlockChecks)
    content = bank_file.read_bytes()
    bank_file.write_bytes(content.replace(b'"checksums"', b'"checksumr"'))
    with pytest.raises(DamagedBankError, match='its header is not what was written'):
        PriorBank.open(bank_file)


def test_header_is_compared_before_what_it_says_is_believed(bank_file):
    content = bank_file.read_bytes()
    bank_file.write_bytes(content.replace(b'"version": "1"', b'"version": "2"'))
    with pytest.raises(DamagedBankError, match='its header is not what was written'):
        PriorBank.open(bank_file)


def move_tensor(header):
    header['priors']['data_offsets'][0] += 1


def swap_tensor(header):
    header['priors']['data_offsets'].reverse()


@pytest.mark.parametrize(
    ('change', 'problem'),
    [
        (lambda header: header.pop('priors'), 'it lacks the tensor priors'),
        (lambda header: header['__metadata__'].pop('origin'), "KeyError.'origin'"),
        (lambda header: header['__metadata__'].pop('version'), 'its header has no version'),
        (lambda header: header['__metadata__'].update(key_slots='x'), "literal for int.* 'x'"),
        (lambda header: header['priors'].update(dtype='I7'), "KeyError.'I7'"),
        (lambda header: header['priors'].update(shape=[3, 2, 5]), 'cannot reshape'),
        (move_tensor, 'ValueError'),
        (swap_tensor, 'its header cannot be read'),
    ],
)
def test_header_that_cannot_be_followed_names_the_file_and_the_way_out(bank_file, change, problem):
    bank_file.write_bytes(change_header(bank_file.read_bytes(), change))
    with pytest.raises(DamagedBankError, match=f'prior bank {bank_file} .*{problem}.*--overwrite'):
        PriorBank.open(bank_file)
