"""Image keys of a bank, looked up without a Python object per image."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from .block_checks import NoChecks

KEY_HASH = 'blake2b64'
"""Name of the hash that places a key in the table: 8 bytes of BLAKE2b, little-endian."""


class KeyIndex(Sequence):
    """The sorted image keys of a bank as one run of UTF-8 bytes and offsets into it.

    All arrays may be memory-mapped, so that millions of keys cost no memory of their own and the
    workers of a data loader share them. With a table of ``hash_table``, a key is found by its hash
    in the same time in any bank; without one, by bisection: keys are sorted by their bytes, which
    for UTF-8 is Python's own order of strings.

    Args:
        key_bytes (np.ndarray): All keys, one after another, UTF-8, shape (B,), uint8.
        offsets (np.ndarray): Where each key starts, and the end of the last: shape (M + 1,), int64.
        table (np.ndarray, optional): Row in each slot, (S,) int32. Defaults to None: bisection.
        num_slots (int): What hashes are taken modulo. Defaults to 0.
        checks (NoChecks, optional): Asked before anything is read. Defaults to None: none.
    """

    def __init__(
        self,
        key_bytes: np.ndarray,
        offsets: np.ndarray,
        table: np.ndarray | None = None,
        num_slots: int = 0,
        checks: NoChecks | None = None,
    ) -> None:
        self.key_bytes = key_bytes
        self.offsets = offsets
        self.table = table
        self.num_slots = num_slots
        checks = checks or NoChecks()
        self._touch_table = (NoChecks() if table is None else checks).watch('key_table')
        self._touch_offsets = checks.watch('key_offsets')
        self._touch_bytes = checks.watch('key_bytes')
        # Views of memory give Python's integers and bytes much faster than arrays do.
        self._bytes = np.asarray(key_bytes).data
        self._offsets = _view(offsets, 'q')
        self._table = None if table is None else _view(table, 'i')

    @classmethod
    def from_keys(cls, keys: Iterable[str]) -> KeyIndex:
        """Pack keys that are sorted and distinct.

        Args:
            keys (Iterable[str]): Image keys.

        Returns:
            KeyIndex: The packed keys.

        Raises:
            ValueError: Keys are repeated or out of order.
        """
        packed, offsets, before = bytearray(), array('q', [0]), None
        for key in keys:
            encoded = key.encode('utf-8')
            if before is not None and before >= encoded:
                problem = 'twice' if before == encoded else 'out of order'
                raise ValueError(f'image key {key!r} comes {problem}')
            packed += encoded
            offsets.append(len(packed))
            before = encoded
        return cls(np.frombuffer(packed, dtype=np.uint8), np.array(offsets, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f'key {index} of {len(self)}')
        return self._encoded(int(index) % len(self)).decode('utf-8')

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.find(key) >= 0

    def find(self, key: str) -> int:
        """Find the row of a key.

        Args:
            key (str): Image key.

        Returns:
            int: Its row in the bank, or -1 where the bank has no such key.
        """
        target = key.encode('utf-8')
        return self._bisect(target) if self._table is None else self._probe(target)

    def hash_table(self) -> tuple[np.ndarray, int]:
        """Place every key in the first free slot from that of its hash on.

        Half of the slots stay free, so that a key is found at the second slot in the mean.

        Returns:
            tuple[np.ndarray, int]: The row in each slot, -1 in a free one, (S,) int32, and the
            number that hashes were taken modulo; S is larger, for keys at the end overflow.
        """
        num_slots = max(1, 2 * len(self))
        digests = b''.join(_digest(self._encoded(row)) for row in range(len(self)))
        slots = (np.frombuffer(digests, dtype='<u8') % np.uint64(num_slots)).astype(np.int64)
        rows = np.argsort(slots, kind='stable')
        # In the order of hashes, a key comes to its slot or right behind the key before it.
        steps = np.arange(len(rows))
        places = np.maximum.accumulate(slots[rows] - steps) + steps
        table = np.full(max(num_slots, int(places.max(initial=0)) + 1) + 1, -1, dtype=np.int32)
        table[places] = rows
        return table, num_slots

    def check_sorted(self) -> None:
        """Read every key and make sure that bisection, and the table if there is one, finds it.

        Raises:
            ValueError: Keys are repeated or out of order, or the table is not theirs.
        """
        if not bool(np.all(np.diff(self.offsets) > 0)):
            raise ValueError('the offsets of image keys are out of order')
        KeyIndex.from_keys(self)
        if self.table is not None:
            table, num_slots = self.hash_table()
            if num_slots != self.num_slots or not np.array_equal(table, self.table):
                raise ValueError('the table of image keys is not that of the keys')

    def _bisect(self, target: bytes) -> int:
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._encoded(middle) < target:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and self._encoded(low) == target else -1

    def _probe(self, target: bytes) -> int:
        slot = int.from_bytes(_digest(target), 'little') % self.num_slots
        while True:
            self._touch_table(slot, slot + 1)
            row = self._table[slot]  # type: ignore[index]
            if row < 0:
                return -1
            if self._encoded(row) == target:
                return row
            slot += 1

    def _encoded(self, row: int) -> bytes:
        self._touch_offsets(row, row + 2)
        begin, end = self._offsets[row], self._offsets[row + 1]
        self._touch_bytes(begin, end)
        return self._bytes[begin:end].tobytes()


def _digest(key: bytes) -> bytes:
    return blake2b(key, digest_size=8).digest()


def _view(array: np.ndarray, code: str) -> memoryview:
    # By way of bytes, for a file whose header was not padded, where integers lie unaligned.
    return np.asarray(array).view(np.uint8).data.cast(code)  # type: ignore[call-overload]
