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

Opening reads the header alone, in the same time for any bank; a block is compared with its checksum
when it is first used. Earlier banks have neither checksums nor key_table: theirs are not checked
before ``verify``, and keys are found by bisection.

A reader ignores tensors and metadata that it does not know; a change that an older reader would
misread raises ``VERSION``.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from disp_plugin.whole_file import replace_file

from .bank_errors import BUILD_COMMAND, REBUILD_COMMAND, BankWriteError, DamagedBankError
from .bank_origin import BankOrigin
from .block_checks import BLOCK_BYTES, BlockChecks, BlockSums, NoChecks
from .key_index import KEY_HASH, KeyIndex

MAGIC = 'disp_plugin.prior_bank'
VERSION = 1

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
            file.write(_header_bytes(specs, metadata) + bytes(8 * num_sums))
            parts = [keys.offsets, file_sizes, table, blocks(), keys.key_bytes]
            sums = _write_summed(file, parts, digest, specs[4][3])
            metadata['fingerprint'] = digest.hexdigest()
            header = _header_bytes(specs, metadata)
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
        metadata (dict[str, str]): Origin, fingerprint, ...
        checks (NoChecks): To ask before priors or sizes are read.
    """

    priors: np.ndarray
    file_sizes: np.ndarray
    keys: KeyIndex
    metadata: dict[str, str]
    checks: NoChecks


def read_bank_file(path: str | Path, mmap: bool = True) -> BankContent:
    """Open a bank file and check that it is one, and whole.

    Args:
        path (str | Path): Bank file.
        mmap (bool): Map the file into memory (read-only, pages shared between processes) rather
            than read it. Defaults to True.

    Returns:
        BankContent: Its tensors, mostly mapped, and metadata.

    Raises:
        FileNotFoundError: There is no such file; the message has the command that builds it.
        ValueError: It is no bank, a bank of a newer version, or truncated.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'there is no prior bank {path}; build it first: {BUILD_COMMAND.format(path)} (and the '
            '--cfg-options of your run)'
        )
    header, start = _read_header(path)
    metadata = header.pop('__metadata__', None) or {}
    _check_kind(path, header, metadata)
    size = path.stat().st_size
    promised = start + max(entry['data_offsets'][1] for entry in header.values())
    if size != promised:
        raise DamagedBankError(
            f'prior bank {path} has {size} bytes where its header announces {promised}: it is '
            f'{"truncated" if size < promised else "altered"}; copy it again or rebuild it: '
            f'{REBUILD_COMMAND.format(path)}'
        )
    raw = np.asarray(np.memmap(path, np.uint8, 'r') if mmap else np.fromfile(path, np.uint8))
    arrays = {name: _take(raw, start, header[name]) for name in _RANKS if name in header}
    checks = _make_checks(path, raw, start, header, metadata)
    _check_shapes(path, arrays, is_checked='checksums' in header)
    table = arrays.get('key_table') if metadata.get('key_hash') == KEY_HASH else None
    num_slots = int(metadata.get('key_slots', 0))
    keys = KeyIndex(arrays['key_bytes'], arrays['key_offsets'], table, num_slots, checks)
    return BankContent(arrays['priors'], arrays['file_sizes'], keys, metadata, checks)


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


def _make_checks(
    path: Path, raw: np.ndarray, start: int, header: dict[str, Any], metadata: dict[str, str]
) -> NoChecks:
    """Compare the header with its checksum and prepare the checks of all that follows."""
    if 'checksums' not in header:
        return NoChecks()
    sums = _take(raw, start, header['checksums'])
    if not len(sums) or zlib.crc32(raw[:start].data) != sums[0]:
        raise DamagedBankError(
            f'prior bank {path} was altered: its header is not what was written; copy it again or '
            f'rebuild it: {REBUILD_COMMAND.format(path)}'
        )
    begin = header['checksums']['data_offsets'][1]
    places = {}
    for name, entry in header.items():
        low, high = (n - begin for n in entry['data_offsets'])
        if low >= 0:
            row_bytes = (high - low) // max([1, *entry['shape'][:1]])
            places[name] = (low, high, row_bytes)
    content = raw[start + begin :]
    block_bytes = int(metadata['block_bytes'])
    return BlockChecks(path, content, start + begin, sums[1:], block_bytes, places)


def _header_bytes(specs: list[tuple[str, str, Any, int]], metadata: dict[str, str]) -> bytes:
    header: dict[str, Any] = {
        '__metadata__': {'format': MAGIC, 'version': str(VERSION), **metadata}
    }
    offset = 0
    for name, code, shape, num_bytes in specs:
        header[name] = {
            'dtype': code,
            'shape': [int(n) for n in shape],
            'data_offsets': [offset, offset + num_bytes],
        }
        offset += num_bytes
    text = json.dumps(header).encode('utf-8')
    text += b' ' * (-len(text) % 8)
    return len(text).to_bytes(8, 'little') + text


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    size = path.stat().st_size
    with open(path, 'rb') as file:
        length = int.from_bytes(file.read(8), 'little')
        text = file.read(min(length, 4096))
        if size < 8 or length > 100_000_000:
            raise ValueError(
                f'{path} is not a prior bank: it does not begin like a safetensors file'
            )
        if 8 + length > size:
            if MAGIC.encode() not in text:
                raise ValueError(
                    f'{path} is not a prior bank, or only the first {size} bytes of one: delete '
                    'it, or name another file'
                )
            raise DamagedBankError(
                f'prior bank {path} has {size} bytes, fewer than its header alone: it is truncated;'
                f' copy it again or rebuild it: {REBUILD_COMMAND.format(path)}'
            )
        text += file.read(length - len(text))
    try:
        header = json.loads(text)
        entries = {k: v for k, v in header.items() if k != '__metadata__'}
        for entry in entries.values():
            entry['dtype'], entry['shape'], entry['data_offsets'][1]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(
            f'{path} is not a prior bank: its safetensors header cannot be read'
        ) from error
    return header, 8 + length


def _check_kind(path: Path, entries: dict[str, Any], metadata: dict[str, str]) -> None:
    if metadata.get('format') != MAGIC:
        held = ', '.join(sorted(entries)[:3]) or 'no tensor'
        raise ValueError(
            f'{path} is not a prior bank but another safetensors file (it holds {held}, ...); '
            f'name the bank that {BUILD_COMMAND.split(" CONFIG")[0]} wrote'
        )
    if int(metadata['version']) > VERSION:
        raise ValueError(
            f'prior bank {path} has version {metadata["version"]} of the format, this disp_plugin '
            f'reads up to {VERSION}; update disp_plugin, or rebuild the bank'
        )
    missing = [name for name in _RANKS if name not in entries and name not in _OPTIONAL]
    if missing:
        raise ValueError(f'prior bank {path} lacks the tensor {missing[0]}; rebuild it')


def _take(raw: np.ndarray, start: int, entry: dict[str, Any]) -> np.ndarray:
    begin, end = entry['data_offsets']
    dtype = _DTYPES[entry['dtype']]
    return raw[start + begin : start + end].view(dtype).reshape(entry['shape'])


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
        raise DamagedBankError(
            f'the tensors of prior bank {path} do not fit together: it is altered; copy it again '
            f'or rebuild it: {REBUILD_COMMAND.format(path)}'
        )
