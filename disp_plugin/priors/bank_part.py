"""A part of a bank: the numbers of some rows, without a copy of the rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .block_checks import NoChecks
from .key_index import KeyIndex
from .prior_bank import PriorBank


class BankPart(PriorBank):
    """Some images of a bank that lies in a file, whose priors stay there until they are used.

    Args:
        whole (PriorBank): The bank.
        rows (np.ndarray): Rows of it in ascending order, (N,) int64.

    Raises:
        ValueError: No rows, or repeated ones.
    """

    def __init__(self, whole: PriorBank, rows: np.ndarray) -> None:
        if not len(rows):
            raise ValueError(f'no image of {whole._name()} was chosen')
        self._whole, self._rows = whole, rows
        self._keys = KeyIndex.from_keys(whole.keys[row] for row in rows.tolist())
        self._priors = whole._priors
        self._file_sizes = whole.file_sizes[rows]
        self._origin = whole.origin
        self._fingerprint = ''
        self._checks = NoChecks()  # the whole bank's own are asked
        self._path = None
        self._mmap = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self._whole, self._rows))

    def __repr__(self) -> str:
        return f'BankPart({self.num_images} images of {self._whole!r})'

    @property
    def priors(self) -> np.ndarray:
        """np.ndarray: All priors of the part (N,V,D) as stored, a copy; read-only."""
        shape = (self.num_images, self.num_views, self.prior_dim)
        copied, done = np.empty(shape, self._priors.dtype), 0
        for block in self._blocks():
            copied[done : done + len(block)] = block
            done += len(block)
        copied.flags.writeable = False
        return copied

    @property
    def num_images(self) -> int:
        """int: N."""
        return len(self._rows)

    def take(self, rows: np.ndarray, views: np.ndarray | int = 0) -> np.ndarray:
        """Copy the priors of some rows of the part.

        Args:
            rows (np.ndarray): (K,) int64, in [0,N), in the order of ``keys``.
            views (np.ndarray | int): View of each, or of all. Defaults to 0: as loaded.

        Returns:
            np.ndarray: (K,D), as stored.

        Raises:
            ValueError: A block of the file was altered; the message names it.
        """
        return self._whole.take(self._rows[rows], views)

    def _blocks(self, size: int = 4096) -> Iterator[np.ndarray]:
        for start in range(0, self.num_images, size):
            rows = np.arange(start, min(start + size, self.num_images))
            yield np.stack([self.take(rows, view) for view in range(self.num_views)], axis=1)

    def _name(self) -> str:
        return f'the part of {self.num_images} images of {self._whole._name()}'
