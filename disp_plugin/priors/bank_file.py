"""How a bank lies on disk: one safetensors file, written whole or not at all, opened mapped.

The layout is that of safetensors (eight bytes with the length of a JSON header, the header, the
tensors), so any safetensors reader opens a bank, and nothing in it is pickled:

    checksums    (1+K,)  I64          CRC-32 of the header, and of each of the K blocks of
                                      ``block_bytes`` into which all that follows is divided
    key_offsets  (M+1,)  I64          where each image key starts in key_bytes
    file_sizes   (M,)    I64          size of each image file in bytes
    key_table    (S,)    I32          row of the key in each slot, -1 in a free one: a key is in the
                                      slot of its hash modulo ``key_slots``, or in one behind it
                                      with no free one between
    priors       (M,V,D) F16 or F32   one block of V rows per image, in the order of the keys
    key_bytes    (B,)    U8           the image keys in UTF-8, sorted, one after another

Opening reads the header alone and compares it with its checksum, which is the first of them in any
version, in the same time for any bank; a block is compared with its checksum
when it is first used. Earlier banks have neither checksums nor key_table: theirs are not checked
before ``verify``, and keys are found by bisection.

A reader ignores tensors and metadata that it does not know; a change that an older reader would
misread raises ``VERSION``.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from disp_plugin.files import replace_file

from .bank_errors import BUILD_COMMAND, BankWriteError, DamagedBankError
from .bank_header import BankHeader, make_header, read_header
from .bank_origin import BankOrigin
from .block_checks import BLOCK_BYTES, BlockChecks, BlockSums, NoChecks
from .key_index import KEY_HASH, KeyIndex

_DTYPES = {
    'F16': np.float16,
    'F32': np.float32,
    'I64': np.int64,
    'I32': np.int32,
    'U8': np.uint8,
}
_CODES = {np.dtype(dtype): code for code, dtype in _DTYPES.items()}
_RANKS = {'priors': 3, 'key_offsets': 1, 'key_bytes': 1, 'file_sizes': 1, 'key_table': 1}
_OPTIONAL = ('key_table',)


def write_bank_file(
    path: str | Path,
    keys: KeyIndex,
    file_sizes: np.ndarray,
    origin: BankOrigin,
    blocks: Callable[[], Iterable[np.ndarray]],
    shape: tuple[int, int, int],
    dtype: Any,
) -> None:
    """Write a bank file; the old file, if there is one, stays until the new one is complete.

    Args:
        path (str | Path): File to write.
        keys (KeyIndex): M image keys.
        file_sizes (np.ndarray): (M,) int64.
        origin (BankOrigin): What the priors were made from.
        blocks (Callable[[], Iterable[np.ndarray]]): Gives the priors from the first on in blocks
            (n,V,D), so that they need not fit into memory; called once.
        shape (tuple[int, int, int]): (M,V,D).
        dtype (Any): float16 or float32.

    Raises:
        BankWriteError: No permission or no space; nothing half-written is left.
    """
    dtype = np.dtype(dtype)
    table, num_slots = keys.hash_table()
    # Eight-byte integers first and bytes last keep every tensor aligned without padding.
    specs = [
        ('key_offsets', 'I64', keys.offsets.shape, keys.offsets.nbytes),
        ('file_sizes', 'I64', file_sizes.shape, file_sizes.nbytes),
        ('key_table', 'I32', table.shape, table.nbytes),
        ('priors', _CODES[dtype], shape, int(np.prod(shape)) * dtype.itemsize),
        ('key_bytes', 'U8', keys.key_bytes.shape, keys.key_bytes.nbytes),
    ]
    num_sums = 1 + -(-sum(spec[3] for spec in specs) // BLOCK_BYTES)
    specs.insert(0, ('checksums', 'I64', (num_sums,), 8 * num_sums))
    metadata = {
        'origin': origin.to_json(),
        'fingerprint': '0' * 64,
        'block_bytes': str(BLOCK_BYTES),
        'key_hash': KEY_HASH,
        'key_slots': str(num_slots),
    }
    digest = _begin_hash(keys, file_sizes, origin, dtype)
    try:
        with replace_file(path) as file:
            # Both are written again once the priors went by and their sums are known.
            file.write(make_header(specs, metadata) + bytes(8 * num_sums))
            parts = [keys.offsets, file_sizes, table, blocks(), keys.key_bytes]
            sums = _write_summed(file, parts, digest, specs[4][3])
            metadata['fingerprint'] = digest.hexdigest()
            header = make_header(specs, metadata)
            file.seek(0)
            file.write(header + np.array([zlib.crc32(header), *sums], dtype=np.int64).tobytes())
    except OSError as error:
        raise BankWriteError.explain(error, path) from error


def hash_bank(
    keys: KeyIndex,
    file_sizes: np.ndarray,
    origin: BankOrigin,
    blocks: Iterable[np.ndarray],
    dtype: Any,
) -> str:
    """Hash all that makes a bank what it is.

    Args:
        keys (KeyIndex): M image keys.
        file_sizes (np.ndarray): (M,) int64.
        origin (BankOrigin): What the priors were made from.
        blocks (Iterable[np.ndarray]): The priors in blocks (n,V,D) of any n.
        dtype (Any): float16 or float32.

    Returns:
        str: Hex digest.
    """
    digest = _begin_hash(keys, file_sizes, origin, dtype)
    for array in blocks:
        digest.update(_raw_bytes(array))
    return digest.hexdigest()


@dataclass(frozen=True)
class BankContent:
    """What is in an opened bank file.

    Attributes:
        priors (np.ndarray): (M,V,D).
        file_sizes (np.ndarray): (M,) int64.
        keys (KeyIndex): M image keys.
        origin (BankOrigin): What the bank was made from.
        fingerprint (str): Hash of its content.
        checks (NoChecks): To ask before priors or sizes are read.
    """

    priors: np.ndarray
    file_sizes: np.ndarray
    keys: KeyIndex
    origin: BankOrigin
    fingerprint: str
    checks: NoChecks


def read_bank_file(path: str | Path, mmap: bool = True) -> BankContent:
    """Open a bank file and check that it is one, and whole.

    Args:
        path (str | Path): Bank file.
        mmap (bool): Map the file into memory (read-only, pages shared between processes) rather
            than read it. Defaults to True.

    Returns:
        BankContent: Its tensors, mostly mapped, and what it was made from.

    Raises:
        FileNotFoundError: There is no such file; the message has the command that builds it.
        ValueError: It is no bank, or a bank of a newer version.
        DamagedBankError: It is truncated or altered.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'there is no prior bank {path}; build it first: {BUILD_COMMAND.format(path)} (and the '
            '--cfg-options of your run)'
        )
    header = read_header(path)
    try:
        return _read_content(path, header, mmap)
    except DamagedBankError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Only an earlier bank, whose header nobody compared with a checksum, comes here.
        problem = f'its header cannot be followed ({error!r})'
        raise DamagedBankError.explain(path, problem) from error


def _read_content(path: Path, header: BankHeader, mmap: bool) -> BankContent:
    size = path.stat().st_size
    promised = header.length + max(entry['data_offsets'][1] for entry in header.tensors.values())
    if size != promised:
        problem = 'truncated' if size < promised else 'altered'
        raise DamagedBankError.explain(
            path, f'it has {size} bytes where its header announces {promised}: it is {problem}'
        )
    raw = np.asarray(np.memmap(path, np.uint8, 'r') if mmap else np.fromfile(path, np.uint8))
    arrays = {name: _take(raw, header, name) for name in _RANKS if name in header.tensors}
    missing = [name for name in _RANKS if name not in arrays and name not in _OPTIONAL]
    if missing:
        raise DamagedBankError.explain(path, f'it lacks the tensor {missing[0]}')
    checks = _make_checks(path, raw, header)
    _check_shapes(path, arrays, header.is_checked)
    metadata = header.metadata
    table = arrays.get('key_table') if metadata.get('key_hash') == KEY_HASH else None
    num_slots = int(metadata.get('key_slots', 0))
    keys = KeyIndex(arrays['key_bytes'], arrays['key_offsets'], table, num_slots, checks)
    origin = BankOrigin.from_json(metadata['origin'])
    fingerprint = metadata['fingerprint']
    return BankContent(arrays['priors'], arrays['file_sizes'], keys, origin, fingerprint, checks)


def _begin_hash(keys: KeyIndex, file_sizes: np.ndarray, origin: BankOrigin, dtype: Any) -> Any:
    digest = hashlib.sha256(f'{np.dtype(dtype).str} {origin.to_json()}'.encode())
    for array in (keys.offsets, keys.key_bytes, file_sizes):
        digest.update(_raw_bytes(array))
    return digest


def _raw_bytes(array: np.ndarray) -> Any:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _write_summed(file: Any, parts: list[Any], digest: Any, num_bytes: int) -> np.ndarray:
    """Write tensors one after another, that of priors in blocks, and sum up what is written."""
    sums = BlockSums()
    for part in parts:
        if isinstance(part, np.ndarray):
            file.write(_raw_bytes(part))
            sums.update(_raw_bytes(part))
            continue
        written = 0
        for block in part:
            data = _raw_bytes(block)
            written += file.write(data)
            sums.update(data)
            digest.update(data)
        if written != num_bytes:
            raise RuntimeError(f'{written} bytes of priors came where {num_bytes} belong')
    return sums.finish()


def _make_checks(path: Path, raw: np.ndarray, header: BankHeader) -> NoChecks:
    """Prepare the checks of all that follows the checksums."""
    if not header.is_checked:
        return NoChecks()
    sums = _take(raw, header, 'checksums')
    begin = header.tensors['checksums']['data_offsets'][1]
    places = {}
    for name, entry in header.tensors.items():
        low, high = (n - begin for n in entry['data_offsets'])
        if low >= 0:
            row_bytes = (high - low) // max([1, *entry['shape'][:1]])
            places[name] = (low, high, row_bytes)
    content = raw[header.length + begin :]
    block_bytes = int(header.metadata['block_bytes'])
    return BlockChecks(path, content, header.length + begin, sums[1:], block_bytes, places)


def _take(raw: np.ndarray, header: BankHeader, name: str) -> np.ndarray:
    entry = header.tensors[name]
    begin, end = (header.length + n for n in entry['data_offsets'])
    dtype = _DTYPES[entry['dtype']]
    return raw[begin:end].view(dtype).reshape(entry['shape'])


def _check_shapes(path: Path, arrays: dict[str, np.ndarray], is_checked: bool) -> None:
    num_images = len(arrays['priors']) if arrays['priors'].ndim == 3 else -1
    offsets = arrays['key_offsets']
    fits = (
        all(array.ndim == _RANKS[name] for name, array in arrays.items())
        and len(offsets) == num_images + 1
        and len(arrays['file_sizes']) == num_images
        and offsets[0] == 0
        and offsets[-1] == len(arrays['key_bytes'])
        # Where checksums say that offsets are as written, not all of them need to be read.
        and (is_checked or bool(np.all(np.diff(offsets) > 0)))
    )
    if not fits:
        raise DamagedBankError.explain(path, 'its tensors do not fit together: it is altered')
