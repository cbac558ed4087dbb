"""Checksums of a bank's blocks, each compared once: when the first byte of its block is used."""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .bank_errors import REBUILD_COMMAND, DamagedBankError

# A first touch costs one block: at 3 GB/s of CRC-32 that is 0.1 ms, and 256 KiB from a slow disk.
BLOCK_BYTES = 2**18


class BlockSums:
    """CRC-32 of each block of a stream of bytes, computed as it is written.

    CRC-32 finds every altered run of up to 32 bits and all but 1 in 4e9 other accidents; against
    intent there is the bank's SHA-256, which ``verify`` computes.

    Args:
        block_bytes (int): Length of a block. Defaults to 2**18.
    """

    def __init__(self, block_bytes: int = BLOCK_BYTES) -> None:
        self.block_bytes = block_bytes
        self._sums: list[int] = []
        self._crc, self._filled = 0, 0

    def update(self, data: Any) -> None:
        """Go on with the next bytes.

        Args:
            data (bytes | memoryview): Bytes of any length.
        """
        data = memoryview(data)
        while len(data):
            part = data[: self.block_bytes - self._filled]
            self._crc = zlib.crc32(part, self._crc)
            self._filled += len(part)
            data = data[len(part) :]
            if self._filled == self.block_bytes:
                self._end_block()

    def finish(self) -> np.ndarray:
        """End the last block.

        Returns:
            np.ndarray: One checksum a block, int64.
        """
        if self._filled:
            self._end_block()
        return np.array(self._sums, dtype=np.int64)

    def _end_block(self) -> None:
        self._sums.append(self._crc)
        self._crc, self._filled = 0, 0


class NoChecks:
    """Stands for the checks of a bank without checksums: an earlier file, or arrays in memory."""

    def watch(self, name: str) -> Callable[[int, int], None]:
        """Give a function that checks some rows of a tensor."""
        return lambda first, last: None

    def touch(self, name: str, first: int = 0, last: int | None = None) -> None:
        """Check some rows of a tensor."""

    def touch_rows(self, name: str, rows: np.ndarray) -> None:
        """Check single rows of a tensor."""

    def check_all(self) -> None:
        """Check everything."""


class BlockChecks(NoChecks):
    """Compares the blocks of an opened bank with their checksums, each before its first use.

    What was compared is remembered in shared memory: workers that are forked from a process share
    the record with it, as they share the pages of the file.

    Args:
        path (str | Path): The bank's file, for the message.
        content (np.ndarray): The bytes that the blocks divide, (B,), uint8, mostly mapped.
        offset (int): Where these begin in the file, for the message.
        sums (np.ndarray): One checksum a block, int64.
        block_bytes (int): Length of a block.
        places (Mapping[str, tuple[int, int, int]]): Of each tensor, where it begins and ends in
            ``content``, and the bytes of a row.

    Raises:
        DamagedBankError: The number of checksums is not that of the blocks.
    """

    def __init__(
        self,
        path: str | Path,
        content: np.ndarray,
        offset: int,
        sums: np.ndarray,
        block_bytes: int,
        places: Mapping[str, tuple[int, int, int]],
    ) -> None:
        self.path = path
        self.places = places
        self._content, self._offset = content.data, offset
        self._sums, self._block_bytes = sums, block_bytes
        if len(sums) != -(-len(content) // block_bytes):
            raise DamagedBankError(
                f'prior bank {path} was altered: it has {len(sums)} checksums, which do not fit '
                f'to {len(content)} bytes; {self._way_out()}'
            )
        self._checked = memoryview(mmap.mmap(-1, max(1, len(sums))))
        self._is_checked = np.frombuffer(self._checked, dtype=np.bool_)

    def watch(self, name: str) -> Callable[[int, int], None]:
        """Give a function that checks the blocks of some rows of a tensor, quick where they were.

        Args:
            name (str): Tensor.

        Returns:
            Callable[[int, int], None]: Takes the first row and the one behind the last; raises
            DamagedBankError where a block was altered, naming it with the rows in it.
        """
        begin, _, row_bytes = self.places[name]
        size, checked = self._block_bytes, self._checked

        def touch(first: int, last: int) -> None:
            low = (begin + first * row_bytes) // size
            high = (begin + last * row_bytes - 1) // size
            if checked[low] and checked[high] and high <= low + 1:
                return
            for block in range(low, high + 1):
                if not checked[block]:
                    self._check(block)

        return touch

    def touch(self, name: str, first: int = 0, last: int | None = None) -> None:
        """Check the blocks of some rows of a tensor that were not checked yet.

        Args:
            name (str): Tensor.
            first (int): First row. Defaults to 0.
            last (int, optional): Row behind the last. Defaults to None: to the end.

        Raises:
            DamagedBankError: A block was altered; it is named with the rows in it.
        """
        begin, end, row_bytes = self.places[name]
        self.watch(name)(first, (end - begin) // row_bytes if last is None else last)

    def touch_rows(self, name: str, rows: np.ndarray) -> None:
        """Check the blocks of single rows of a tensor that were not checked yet.

        Args:
            name (str): Tensor.
            rows (np.ndarray): (N,) int64.

        Raises:
            DamagedBankError: A block was altered; it is named with the rows in it.
        """
        begin, _, row_bytes = self.places[name]
        begins = begin + rows * row_bytes
        known = self._is_checked[begins // self._block_bytes]
        known &= self._is_checked[(begins + row_bytes - 1) // self._block_bytes]
        # A row longer than a block may have blocks between its first and its last.
        for row in rows if row_bytes > self._block_bytes else rows[~known]:
            self.touch(name, int(row), int(row) + 1)

    def check_all(self) -> None:
        """Check every block, even those that were checked before.

        Raises:
            DamagedBankError: A block was altered.
        """
        for block in range(len(self._sums)):
            self._check(block)

    def _check(self, block: int) -> None:
        size = self._block_bytes
        begin, end = block * size, min((block + 1) * size, len(self._content))
        if zlib.crc32(self._content[begin:end]) != self._sums[block]:
            raise DamagedBankError(
                f'prior bank {self.path} was altered: block {block + 1} of {len(self._sums)} '
                f'(bytes {self._offset + begin} to {self._offset + end} of the file; '
                f'{self._describe(begin, end)}) is not what was written; {self._way_out()}'
            )
        self._checked[block] = 1

    def _describe(self, begin: int, end: int) -> str:
        """Say which rows of which tensors lie between two places."""
        parts = []
        for name, (start, stop, row_bytes) in self.places.items():
            low, high = max(begin, start), min(end, stop)
            if low < high:
                rows = (low - start) // row_bytes, (high - 1 - start) // row_bytes
                unit = 'byte' if row_bytes == 1 else 'row'
                parts.append(f'{name} from {unit} {rows[0]} to {rows[1]}')
        return ', '.join(parts)

    def _way_out(self) -> str:
        return f'copy it again or rebuild it: {REBUILD_COMMAND.format(self.path)}'
