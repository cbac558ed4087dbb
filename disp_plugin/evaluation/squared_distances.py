"""Squared distances between all pairs of two sets: bounds that are cheap, and exact values.

``|a - b|^2 = |a|^2 + |b|^2 - 2 a.b`` is a matrix product, and as fast; but what is left of it for
near copies is mostly rounding. So a block of pairs is given as bounds between which the exact
squares lie, and the few pairs whose bounds do not settle a question are computed from differences.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK_ROWS = 1024
BLOCK_COLUMNS = 8192
# values of the pairs that are computed at once: in the cache of a CPU, many for a GPU
_CPU_VALUES, _GPU_VALUES = 2**17, 2**24


class Bounds(NamedTuple):
    """Bounds of the squared distances of some rows to some columns.

    Attributes:
        low (Tensor): (R, C); the exact squares are not below.
        row_slack (Tensor): (R,).
        column_slack (Tensor): (C,); the exact square of (i, j) is not above
            ``low[i, j] + row_slack[i] + column_slack[j]``.
    """

    low: Tensor
    row_slack: Tensor
    column_slack: Tensor


class SquaredDistances:
    """Squared distances of every row to every column.

    Args:
        rows (Tensor): (N, F) floating point, finite.
        columns (Tensor): (M, F) likewise, on the same device.
        dtype (torch.dtype): What the bounds are computed in: float32, or float64 where those of
            float32 are too wide. Defaults to torch.float32.
    """

    def __init__(self, rows: Tensor, columns: Tensor, dtype: torch.dtype = torch.float32) -> None:
        self.rows = rows
        self.columns = columns
        self.dtype = dtype
        # far from the origin norms are large, and the bounds with them
        self.center = columns.mean(dim=0, dtype=_wide(columns.dtype))
        # |error of a.b| <= F u |a| |b| in any order of summation (Higham 2002, section 3.1), with
        # room for the rounding of norms, centers and sums
        self.share = (columns.shape[1] + 32) * torch.finfo(dtype).eps / 2
        self._centered_columns = self._centered(columns)
        self._column_squares = _squares(self._centered_columns)

    def bounds(self, rows: Tensor, columns: slice) -> Bounds:
        """Bound a block.

        Args:
            rows (Tensor): (R,) int64, indices of rows.
            columns (slice): Range of columns.

        Returns:
            Bounds: Of ``dtype``.
        """
        first, second = self._centered(self.rows[rows]), self._centered_columns[columns]
        row_squares, column_squares = _squares(first), self._column_squares[columns]
        keep = 1 - self.share
        with full_precision():
            low = torch.addmm(column_squares * keep, first, second.T, alpha=-2)
        low += (row_squares * keep)[:, None]
        return Bounds(low, 2 * self.share * row_squares, 2 * self.share * column_squares)

    def _centered(self, block: Tensor) -> Tensor:
        wide = torch.promote_types(_wide(block.dtype), self.dtype)
        return (block.to(wide) - self.center).to(self.dtype)

    def exact(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Compute the squares of single pairs from their differences.

        Args:
            rows (Tensor): (P,) int64, indices of rows.
            columns (Tensor): (P,) int64, indices of columns.

        Returns:
            Tensor: (P,) float64.
        """
        values = _CPU_VALUES if rows.device.type == 'cpu' else _GPU_VALUES
        size = max(values // self.columns.shape[1], 1)
        found = torch.empty(len(rows), dtype=torch.float64, device=rows.device)
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            first, second = self.rows[rows[part]], self.columns[columns[part]]
            found[part] = (first.double() - second.double()).square_().sum(1)
        return found

    def column_blocks(self) -> Iterator[slice]:
        """Yield the columns in ranges of at most ``BLOCK_COLUMNS``.

        Yields:
            slice: In order, none empty.
        """
        for start in range(0, len(self.columns), BLOCK_COLUMNS):
            yield slice(start, min(start + BLOCK_COLUMNS, len(self.columns)))


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _squares(features: Tensor) -> Tensor:
    """|a|^2 of (N, F), without a copy: (N,)."""
    return torch.linalg.vector_norm(features, dim=1).square_()


@contextmanager
def full_precision() -> Iterator[None]:
    """Multiply float32 matrices in float32, even where a training allows TF32 or bfloat16.

    Yields:
        None: While it holds.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('highest')
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
