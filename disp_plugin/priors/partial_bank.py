"""The rows of a bank that is being built, on disk as soon as they are there."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .bank_errors import BankInUseError, BankWriteError
from .lock_file import lock_file, unlock_file

_MAGIC = b'DISPPART'
# Of one batch: how many images, and the checksum of their rows.
_RECORD = struct.Struct('<4sII')


class PartialBank:
    """A file beside the bank to be, to which every batch of rows is added, with its checksum.

    A build that was stopped, even killed, goes on behind the last batch that is whole on disk. The
    file begins with what it is a part of; one of another encoder or data set is discarded.

    Args:
        bank_file (str | Path): The bank to be; the partial file is this with ``.part`` added.
        identity (dict[str, str]): What the rows belong to: equal only for the same work.
        row_shape (tuple[int, int]): (V,D).
        dtype (Any): float16 or float32.

    Attributes:
        num_done (int): Images whose rows are in the file.
        discarded (str): Why an earlier partial file was not used, '' where there was none.

    Raises:
        BankWriteError: No permission or no space.
        BankInUseError: Another process is building this bank.
    """

    def __init__(
        self,
        bank_file: str | Path,
        identity: dict[str, str],
        row_shape: tuple[int, int],
        dtype: Any,
    ) -> None:
        self.path = partial_path(bank_file)
        self.dtype = np.dtype(dtype)
        self.row_shape = tuple(row_shape)
        self._row_bytes = int(np.prod(row_shape)) * self.dtype.itemsize
        self._header = _make_header(identity, self.row_shape, self.dtype)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Not O_TRUNC: what is in the file may be another process's until it is locked.
            self._file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), 'r+b')
        except OSError as error:
            raise BankWriteError.explain(error, bank_file) from error
        self._lock()
        self.num_done, self.discarded = 0, ''
        self._resume(identity)

    def append(self, rows: np.ndarray) -> None:
        """Add the rows of the next images.

        Args:
            rows (np.ndarray): (n,V,D).

        Raises:
            BankWriteError: No space; what was there before is kept.
        """
        payload = np.ascontiguousarray(rows, dtype=self.dtype).tobytes()
        record = _RECORD.pack(b'ROWS', len(rows), zlib.crc32(payload))
        try:
            self._file.write(record + payload)
            self._file.flush()
        except OSError as error:
            raise BankWriteError.explain(error, self.path) from error
        self.num_done += len(rows)

    def sync(self) -> None:
        """Wait until the rows are on the disk, beyond a failure of power."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise BankWriteError.explain(error, self.path) from error

    def blocks(self) -> Iterator[np.ndarray]:
        """Read the rows back, from the first on.

        Yields:
            np.ndarray: (n,V,D), batch by batch.
        """
        self._file.seek(len(self._header))
        done = 0
        while done < self.num_done:
            rows = self._read_record()
            if rows is None:
                raise OSError(f'{self.path} was altered while the bank was built; build it again')
            done += len(rows)
            yield rows

    def close(self) -> None:
        """Close the file and let another process have it."""
        if self._is_locked and not self._file.closed:
            # Forked processes have the file open too, and would keep the lock until they end.
            unlock_file(self._file)
        self._file.close()

    def remove(self) -> None:
        """Delete the file, when the bank is complete."""
        self.path.unlink(missing_ok=True)
        self.close()

    def _lock(self) -> None:
        try:
            advice = 'do not start a second build of this bank, or of this shard of it, at once'
            self._is_locked = lock_file(self._file, self.path, advice)
        except BlockingIOError as error:
            self._file.close()
            raise BankInUseError(
                f'another process is building this bank ({self.path} is in use); wait for it, or '
                'choose another file with --bank-file'
            ) from error

    def _resume(self, identity: dict[str, str]) -> None:
        """Count the rows that are whole, cut off what is behind them, or begin anew."""
        if self._file.read(len(self._header)) == self._header:
            end = self._file.tell()
            while (rows := self._read_record()) is not None:
                self.num_done += len(rows)
                end = self._file.tell()
        else:
            self.discarded = self._explain_discard(identity)
            self._file.seek(0)
            self._file.write(self._header)
            end = len(self._header)
        self._file.seek(end)
        self._file.truncate()

    def _read_record(self) -> np.ndarray | None:
        head = self._file.read(_RECORD.size)
        if len(head) < _RECORD.size:
            return None
        tag, num_images, checksum = _RECORD.unpack(head)
        payload = self._file.read(num_images * self._row_bytes) if tag == b'ROWS' else b''
        if len(payload) != num_images * self._row_bytes or zlib.crc32(payload) != checksum:
            return None
        return np.frombuffer(payload, dtype=self.dtype).reshape(-1, *self.row_shape)

    def _explain_discard(self, identity: dict[str, str]) -> str:
        """Name what an earlier file was a part of, where this is not it."""
        self._file.seek(0)
        start = self._file.read(len(_MAGIC) + 4)
        if not start:
            return ''
        try:
            if start[: len(_MAGIC)] != _MAGIC:
                raise ValueError(start)
            held = json.loads(self._file.read(struct.unpack('<I', start[len(_MAGIC) :])[0]))
            differing = [name for name, value in identity.items() if held.get(name) != value]
        except (ValueError, struct.error):
            return 'it is damaged'
        return f'it belongs to another {" and ".join(differing) or "shape of prior"}'


def partial_path(bank_file: str | Path) -> Path:
    """Give the partial file of a bank.

    Args:
        bank_file (str | Path): The bank's file.

    Returns:
        Path: The same with ``.part`` added.
    """
    return Path(f'{bank_file}.part')


def count_stored(
    bank_file: str | Path,
    identity: dict[str, str],
    row_shape: tuple[int, int],
    dtype: Any,
    batch_images: int,
) -> int:
    """Tell from its size how many images a partial file holds, without reading or locking it.

    Args:
        bank_file (str | Path): The bank to be.
        identity (dict[str, str]): What the rows must belong to.
        row_shape (tuple[int, int]): (V,D).
        dtype (Any): float16 or float32.
        batch_images (int): Images in a record.

    Returns:
        int: Number of images, whose checksums nobody compared; 0 for a file of other work.
    """
    header = _make_header(identity, tuple(row_shape), np.dtype(dtype))
    try:
        with open(partial_path(bank_file), 'rb') as file:
            if file.read(len(header)) != header:
                return 0
            length = os.fstat(file.fileno()).st_size - len(header)
    except OSError:
        return 0
    row_bytes = int(np.prod(row_shape)) * np.dtype(dtype).itemsize
    records, rest = divmod(length, _RECORD.size + batch_images * row_bytes)
    return records * batch_images + max(0, rest - _RECORD.size) // row_bytes


def _make_header(identity: dict[str, str], row_shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    header = json.dumps({**identity, 'row_shape': row_shape, 'dtype': dtype.str})
    return _MAGIC + struct.pack('<I', len(header)) + header.encode()
