"""Image keys of a bank, looked up without a Python object per image."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


class KeyIndex(Sequence):
    """The sorted image keys of a bank as one run of UTF-8 bytes and offsets into it.

    Both arrays may be memory-mapped, so that millions of keys cost no memory of their own and the
    workers of a data loader share them. A key is found by bisection: keys are sorted by their
    bytes, which for UTF-8 is Python's own order of strings.

    Args:
        key_bytes (np.ndarray): All keys, one after another, UTF-8, shape (B,), uint8.
        offsets (np.ndarray): Where each key starts, and the end of the last: shape (M + 1,), int64.
    """

    def __init__(self, key_bytes: np.ndarray, offsets: np.ndarray) -> None:
        self.key_bytes = key_bytes
        self.offsets = offsets
        self._bytes = np.asarray(key_bytes).data

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
        encoded = [key.encode('utf-8') for key in keys]
        for before, after in itertools.pairwise(encoded):
            if before >= after:
                problem = 'twice' if before == after else 'out of order'
                raise ValueError(f'image key {after.decode("utf-8")!r} comes {problem}')
        offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum([len(key) for key in encoded], out=offsets[1:])
        return cls(np.frombuffer(b''.join(encoded), dtype=np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f'key {index} of {len(self)}')
        return self._encoded(index % len(self)).decode('utf-8')

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
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._encoded(middle) < target:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and self._encoded(low) == target else -1

    def check_sorted(self) -> None:
        """Read every key and make sure that bisection can find it.

        Raises:
            ValueError: Keys are repeated or out of order.
        """
        KeyIndex.from_keys(self)

    def _encoded(self, row: int) -> bytes:
        return self._bytes[self.offsets[row] : self.offsets[row + 1]].tobytes()
