"""How a bank lies on disk: one safetensors file, written whole or not at all, opened mapped.

The layout is that of safetensors (eight bytes with the length of a JSON header, the header, the
tensors), so any safetensors reader opens a bank, and nothing in it is pickled:

    priors       (M,V,D) F16 or F32   one block of V rows per image, in the order of the keys
    key_offsets  (M+1,)  I64          where each image key starts in key_bytes
    key_bytes    (B,)    U8           the image keys in UTF-8, sorted, one after another
    file_sizes   (M,)    I64          size of each image file in bytes

A reader ignores tensors and metadata that it does not know; a change that an older reader would
misread raises ``VERSION``.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from disp_plugin.whole_file import replace_file

from .bank_origin import BankOrigin
from .key_index import KeyIndex

MAGIC = 'disp_plugin.prior_bank'
VERSION = 1
BUILD_COMMAND = 'python tools/build_prior_bank.py CONFIG --bank-file {}'
REBUILD_COMMAND = f'{BUILD_COMMAND} --overwrite (and the --cfg-options of your run)'

_DTYPES = {'F16': np.float16, 'F32': np.float32, 'I64': np.int64, 'U8': np.uint8}
_CODES = {np.dtype(dtype): code for code, dtype in _DTYPES.items()}
_RANKS = {'priors': 3, 'key_offsets': 1, 'key_bytes': 1, 'file_sizes': 1}


class BankWriteError(OSError, ValueError):
    """A bank cannot be written where it was asked for: no permission, no space, no folder."""

    @classmethod
    def explain(cls, error: OSError, path: str | Path) -> BankWriteError:
        """Say in the user's words why a file could not be written, and what helps.

        Args:
            error (OSError): What the system said.
            path (str | Path): The file that was to be written.

        Returns:
            BankWriteError: To raise in the place of it.
        """
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = f'no space left to write {path}; free some'
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            reason = f'no permission to write {path}; change that of its folder'
        else:
            reason = f'cannot write {path}: {error.strerror or error}; mend that'
        return cls(f'{reason}, or choose another place with --bank-file')


class DamagedBankError(ValueError):
    """A bank file is truncated or altered."""


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
            (n,V,D), so that they need not fit into memory; called twice.
        shape (tuple[int, int, int]): (M,V,D).
        dtype (Any): float16 or float32.

    Raises:
        BankWriteError: No permission or no space; nothing half-written is left.
    """
    dtype = np.dtype(dtype)
    num_bytes = int(np.prod(shape)) * dtype.itemsize
    # Eight-byte integers first and bytes last keep every tensor aligned without padding.
    specs = [
        ('key_offsets', 'I64', keys.offsets.shape, keys.offsets.nbytes),
        ('file_sizes', 'I64', file_sizes.shape, file_sizes.nbytes),
        ('priors', _CODES[dtype], shape, num_bytes),
        ('key_bytes', 'U8', keys.key_bytes.shape, keys.key_bytes.nbytes),
    ]
    metadata = {
        'origin': origin.to_json(),
        'fingerprint': hash_bank(keys, file_sizes, origin, blocks(), dtype),
    }
    try:
        with replace_file(path) as file:
            file.write(_header_bytes(specs, metadata))
            file.write(keys.offsets.tobytes())
            file.write(file_sizes.tobytes())
            written = sum(file.write(np.ascontiguousarray(block).tobytes()) for block in blocks())
            if written != num_bytes:
                raise RuntimeError(f'{written} bytes of priors came where {num_bytes} belong')
            file.write(keys.key_bytes.tobytes())
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
    digest = hashlib.sha256(f'{np.dtype(dtype).str} {origin.to_json()}'.encode())
    for array in (keys.offsets, keys.key_bytes, file_sizes, *blocks):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def read_bank_file(
    path: str | Path, mmap: bool = True
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Open a bank file and check that it is one, and whole.

    Args:
        path (str | Path): Bank file.
        mmap (bool): Map the file into memory (read-only, pages shared between processes) rather
            than read it. Defaults to True.

    Returns:
        tuple[dict[str, np.ndarray], dict[str, str]]: The tensors by name, and the metadata.

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
    raw = np.memmap(path, dtype=np.uint8, mode='r') if mmap else np.fromfile(path, dtype=np.uint8)
    arrays = {name: _take(np.asarray(raw), start, header[name]) for name in _RANKS}
    _check_shapes(path, arrays)
    return arrays, metadata


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
        if size < 8 or length > 100_000_000:
            raise ValueError(
                f'{path} is not a prior bank: it does not begin like a safetensors file'
            )
        if 8 + length > size:
            raise ValueError(
                f'{path} has {size} bytes, fewer than its header alone: it is truncated or no '
                f'prior bank; copy it again or rebuild it: {REBUILD_COMMAND.format(path)}'
            )
        text = file.read(length)
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
    missing = [name for name in _RANKS if name not in entries]
    if missing:
        raise ValueError(f'prior bank {path} lacks the tensor {missing[0]}; rebuild it')


def _take(raw: np.ndarray, start: int, entry: dict[str, Any]) -> np.ndarray:
    begin, end = entry['data_offsets']
    dtype = _DTYPES[entry['dtype']]
    return raw[start + begin : start + end].view(dtype).reshape(entry['shape'])


def _check_shapes(path: Path, arrays: dict[str, np.ndarray]) -> None:
    num_images = len(arrays['priors']) if arrays['priors'].ndim == 3 else -1
    offsets = arrays['key_offsets']
    fits = (
        all(arrays[name].ndim == rank for name, rank in _RANKS.items())
        and len(offsets) == num_images + 1
        and len(arrays['file_sizes']) == num_images
        and offsets[0] == 0
        and offsets[-1] == len(arrays['key_bytes'])
        and bool(np.all(np.diff(offsets) > 0))
    )
    if not fits:
        raise DamagedBankError(
            f'the tensors of prior bank {path} do not fit together: it is altered; copy it again '
            f'or rebuild it: {REBUILD_COMMAND.format(path)}'
        )
