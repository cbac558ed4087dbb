"""The nearest neighbors of features, exact where float32 cannot tell them apart."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from .check_features import check_features
from .squared_distances import BLOCK_ROWS, SquaredDistances

SPARE = 8
"""So many candidates more than are asked for, to see that none was missed."""


class Nearest(NamedTuple):
    """The nearest point of every query.

    Attributes:
        indices (Tensor): (N,) int64, which point.
        distance (Tensor): (N,) float64, how far.
    """

    indices: Tensor
    distance: Tensor


class Candidates(NamedTuple):
    """Those columns that may be among the nearest of each row; all others are farther than ``low``.

    Attributes:
        indices (Tensor): (R, K) int64, columns.
        low (Tensor): (R, K), bounds of their squared distances, ascending.
        slack (Tensor): (R, K), width of the bounds.
        complete (bool): Whether these are all columns.
    """

    indices: Tensor
    low: Tensor
    slack: Tensor
    complete: bool


def squared_radii(features: Tensor, neighbors: Iterable[int]) -> dict[int, Tensor]:
    """Measure how far the k-th neighbor of every feature is within its own set.

    A feature is no neighbor of itself, but an equal one at another index is.

    Args:
        features (Tensor): (N, F) floating point.
        neighbors (Iterable[int]): Numbers k, each from 1 to N - 1.

    Returns:
        dict[int, Tensor]: k -> (N,) float64, squared distances.
    """
    ks = sorted(set(neighbors))
    radii = {k: torch.empty(len(features), dtype=torch.float64, device=features.device) for k in ks}
    if not ks:
        return radii
    pending = torch.arange(len(features), device=features.device)
    for dtype in (torch.float32, torch.float64):
        distances = SquaredDistances(features, features, dtype)
        unsettled = []
        for rows in pending.split(BLOCK_ROWS):
            found = _find_candidates(distances, rows, ks[-1] + SPARE, skip_self=True)
            for k in ks:
                radii[k][rows], _ = _kth(distances, rows, found, k)
            unsettled.append(rows[~_is_settled(found, radii[ks[-1]][rows])])
        pending = torch.cat(unsettled)
        if not len(pending):
            break
    return radii


def nearest(queries: Tensor, points: Tensor) -> Nearest:
    """Find the nearest point of every query.

    Args:
        queries (Tensor): (N, F) floating point.
        points (Tensor): (M, F) likewise, on the same device.

    Returns:
        Nearest: Indices and distances.

    Raises:
        ValueError: No query or no point, values that are not finite, or sets of different widths.
    """
    check_features(1, queries=queries, points=points)
    index = torch.empty(len(queries), dtype=torch.int64, device=queries.device)
    squares = torch.empty(len(queries), dtype=torch.float64, device=queries.device)
    pending = torch.arange(len(queries), device=queries.device)
    for dtype in (torch.float32, torch.float64):
        distances = SquaredDistances(queries, points, dtype)
        unsettled = []
        for rows in pending.split(BLOCK_ROWS):
            found = _find_candidates(distances, rows, 1 + SPARE, skip_self=False)
            squares[rows], place = _kth(distances, rows, found, 1)
            index[rows] = found.indices.gather(1, place[:, None])[:, 0]
            unsettled.append(rows[~_is_settled(found, squares[rows])])
        pending = torch.cat(unsettled)
        if not len(pending):
            break
    return Nearest(index, squares.sqrt())


def _find_candidates(
    distances: SquaredDistances, rows: Tensor, num: int, skip_self: bool
) -> Candidates:
    """Keep the ``num`` columns with the smallest lower bounds for each row."""
    available = len(distances.columns) - int(skip_self)
    num = min(num, available)
    kept: tuple[Tensor, ...] = ()
    for columns in distances.column_blocks():
        low, row_slack, column_slack = distances.bounds(rows, columns)
        if skip_self:
            own = ((rows >= columns.start) & (rows < columns.stop)).nonzero()[:, 0]
            low[own, rows[own] - columns.start] = torch.inf
        low, where = low.topk(min(num, low.shape[1]), largest=False)
        new = (low, where + columns.start, row_slack[:, None] + column_slack[where])
        if kept:
            low, index, slack = (torch.cat(pair, 1) for pair in zip(kept, new, strict=True))
            low, where = low.topk(min(num, low.shape[1]), largest=False)
            new = (low, index.gather(1, where), slack.gather(1, where))
        kept = new
    low, index, slack = kept
    return Candidates(index, low, slack, num == available)


def _kth(
    distances: SquaredDistances, rows: Tensor, found: Candidates, k: int
) -> tuple[Tensor, Tensor]:
    """Exact k-th smallest square of each row, and its place among the candidates: (R,) each."""
    high = found.low + found.slack
    least, most = found.low[:, k - 1 : k], high.kthvalue(k, dim=1, keepdim=True).values
    # the bounds of all others lie wholly below or wholly above the one that is looked for
    row, place = ((found.low <= most) & (high >= least)).nonzero(as_tuple=True)
    squares = found.low.double()
    squares[row, place] = distances.exact(rows[row], found.indices[row, place])
    kth = squares.kthvalue(k, dim=1)
    return kth.values, kth.indices


def _is_settled(found: Candidates, kth: Tensor) -> Tensor:
    """Tell for which rows no column outside the candidates is nearer than the k-th: (R,) bool."""
    return (kth <= found.low[:, -1]) | (kth == 0) | found.complete
