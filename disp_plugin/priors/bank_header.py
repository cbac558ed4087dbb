"""The header of a bank's file, read so that no damage of it is taken for content."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .bank_errors import BUILD_COMMAND, DamagedBankError

MAGIC = 'disp_plugin.prior_bank'
VERSION = 1

_MAX_LENGTH = 100_000_000  # what safetensors allows


@dataclass(frozen=True)
class BankHeader:
    """What the header of a bank says.

    Attributes:
        length (int): Its bytes; offsets of tensors count from there.
        tensors (dict[str, dict[str, Any]]): ``dtype``, ``shape`` and ``data_offsets`` by name.
        metadata (dict[str, str]): The rest.
    """

    length: int
    tensors: dict[str, dict[str, Any]]
    metadata: dict[str, str]

    @property
    def is_checked(self) -> bool:
        """bool: Whether the bank has checksums, of which the header's was compared."""
        return 'checksums' in self.tensors


def make_header(specs: list[tuple[str, str, Any, int]], metadata: dict[str, str]) -> bytes:
    """Write a header.

    Args:
        specs (list[tuple[str, str, Any, int]]): Name, type code, shape and bytes of each tensor, in
            the order in which they follow.
        metadata (dict[str, str]): What to add to format and version.

    Returns:
        bytes: Its length and the JSON, padded to a multiple of 8.
    """
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


def read_header(path: Path) -> BankHeader:
    """Read the header of a bank and, if the bank has checksums, compare it with its own.

    Args:
        path (Path): Bank file.

    Returns:
        BankHeader: The header.

    Raises:
        ValueError: It is no bank, or a bank of a newer version.
        DamagedBankError: It begins like a bank, but is truncated or altered.
    """
    raw, looks_like_bank = _read_bytes(path)
    try:
        header = _parse(raw)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if looks_like_bank:
            raise DamagedBankError.explain(path, 'its header cannot be read') from error
        raise ValueError(
            f'{path} is not a prior bank: its safetensors header cannot be read'
        ) from error
    if header.metadata.get('format') != MAGIC:
        if looks_like_bank:
            raise DamagedBankError.explain(path, 'its header is not what was written')
        held = ', '.join(sorted(header.tensors)[:3]) or 'no tensor'
        raise ValueError(
            f'{path} is not a prior bank but another safetensors file (it holds {held}, ...); '
            f'name the bank that {BUILD_COMMAND.split(" CONFIG")[0]} wrote'
        )
    _check_sum(path, raw, header)
    version = header.metadata.get('version', '')
    if not (version.isascii() and version.isdecimal()):
        raise DamagedBankError.explain(path, 'its header has no version')
    if int(version) > VERSION:
        raise ValueError(
            f'prior bank {path} has version {version} of the format, this disp_plugin reads up to '
            f'{VERSION}; update disp_plugin, or rebuild the bank'
        )
    return header


def _read_bytes(path: Path) -> tuple[bytes, bool]:
    """Read a header as it is, and tell whether it begins like that of a bank."""
    size = path.stat().st_size
    with open(path, 'rb') as file:
        raw = file.read(4096)
        looks_like_bank = MAGIC.encode() in raw
        length = 8 + int.from_bytes(raw[:8], 'little')
        if len(raw) < 8 or length > _MAX_LENGTH:
            if looks_like_bank:
                raise DamagedBankError.explain(path, 'the length of its header was altered')
            raise ValueError(
                f'{path} is not a prior bank: it does not begin like a safetensors file'
            )
        if length <= size:
            return raw[:length] + file.read(max(0, length - len(raw))), looks_like_bank
    if looks_like_bank:
        raise DamagedBankError.explain(
            path, f'it has {size} bytes, fewer than its header alone: it is truncated'
        )
    raise ValueError(
        f'{path} is not a prior bank, or only the first {size} bytes of one: delete it, or name '
        'another file'
    )


def _parse(raw: bytes) -> BankHeader:
    tensors = json.loads(raw[8:])
    metadata = tensors.pop('__metadata__', {})
    for entry in tensors.values():
        begin, end = entry['data_offsets']
        if not 0 <= begin <= end or min([0, *entry['shape']]) < 0:
            raise ValueError(entry)
        entry['dtype'].upper()
    if not all(isinstance(value, str) for value in metadata.values()):
        raise TypeError(metadata)
    return BankHeader(len(raw), tensors, metadata)


def _check_sum(path: Path, raw: bytes, header: BankHeader) -> None:
    """Compare a header with its checksum, before anything that it says is believed."""
    if not header.is_checked and 'block_bytes' not in header.metadata:
        return  # an earlier bank, without checksums
    stored = b''
    if header.is_checked:
        with open(path, 'rb') as file:
            file.seek(header.length + header.tensors['checksums']['data_offsets'][0])
            stored = file.read(8)
    if header.is_checked and len(stored) < 8:
        problem = 'it is truncated: it ends before the checksum of its header'
    elif stored != zlib.crc32(raw).to_bytes(8, 'little'):
        problem = 'it was altered: its header is not what was written'
    else:
        return
    raise DamagedBankError.explain(path, problem)
