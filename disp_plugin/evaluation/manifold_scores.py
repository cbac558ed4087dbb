"""Improved precision and recall, density and coverage."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .check_features import check_features
from .estimate import Estimate
from .nearest_neighbors import squared_radii
from .squared_distances import BLOCK_ROWS, SquaredDistances


def manifold_scores(
    generated: Tensor,
    reference: Tensor,
    precision_neighbors: Sequence[int] = (10, 3),
    recall_neighbors: Sequence[int] = (40, 3),
    density_neighbors: int = 5,
) -> dict[tuple[str, int], Estimate]:
    """Ask which samples lie among real images, and which real images among samples.

    Around every image of a set lies a ball that reaches to its k-th neighbor in that set; its
    surface belongs to it.

    * precision: share of generated images within any ball of the reference;
    * recall: share of reference images within any ball of the generated (both Kynkäänniemi et al.
      2019, arXiv 1904.06991);
    * density: in how many balls of the reference a generated image lies on average, over k;
    * coverage: share of the reference's balls that hold a generated image (both Naeem et al. 2020,
      arXiv 2002.09797).

    All distances are compared as if computed exactly; memory beyond the features does not grow with
    N x M.

    Args:
        generated (Tensor): (N, F) floating point.
        reference (Tensor): (M, F) likewise.
        precision_neighbors (Sequence[int]): k of precision; one number for each.
            Defaults to (10, 3).
        recall_neighbors (Sequence[int]): k of recall, likewise. Defaults to (40, 3).
        density_neighbors (int): k of density and coverage. Defaults to 5.

    Returns:
        dict[tuple[str, int], Estimate]: By name and k, such as ``('precision', 10)``. Standard
        deviations are those of a share (or, of density, a mean) of so many independent images, with
        the balls as given.

    Raises:
        ValueError: A set does not hold more features than a k that is asked of it, a k is below 1,
            values are not finite, or the sets differ in width.
    """
    check_features(1, generated=generated, reference=reference)
    reference = reference.to(generated.device)
    of_reference = sorted({*precision_neighbors, density_neighbors})
    _check_neighbors('precision_neighbors', precision_neighbors, 'reference', reference)
    _check_neighbors('density_neighbors', [density_neighbors], 'reference', reference)
    _check_neighbors('recall_neighbors', recall_neighbors, 'generated', generated)
    distances = SquaredDistances(generated, reference)
    tally = _Tally(
        distances,
        squared_radii(generated, recall_neighbors),
        squared_radii(reference, of_reference),
        density_neighbors,
    )
    for rows in torch.arange(len(generated), device=generated.device).split(BLOCK_ROWS):
        for columns in distances.column_blocks():
            tally.count(rows, columns)
    scores = {('precision', k): _share(tally.precise[k]) for k in precision_neighbors}
    scores |= {('recall', k): _share(tally.recalled[k]) for k in recall_neighbors}
    balls = tally.balls.double() / density_neighbors
    spread = float(balls.std()) / len(balls) ** 0.5 if len(balls) > 1 else None
    scores['density', density_neighbors] = Estimate(float(balls.mean()), spread)
    scores['coverage', density_neighbors] = _share(tally.covered)
    return scores


class _Tally:
    """Which images lie within which balls.

    Args:
        distances (SquaredDistances): Of generated images (rows) to the reference (columns).
        row_radii (dict[int, Tensor]): k -> (N,) squared radii around the generated.
        column_radii (dict[int, Tensor]): k -> (M,) squared radii around the reference.
        density_neighbors (int): k of density and coverage, one of those of ``column_radii``.
    """

    def __init__(
        self,
        distances: SquaredDistances,
        row_radii: dict[int, Tensor],
        column_radii: dict[int, Tensor],
        density_neighbors: int,
    ) -> None:
        self.distances = distances
        self.row_radii, self.column_radii = row_radii, column_radii
        self.density_neighbors = density_neighbors
        rows, columns = distances.rows, distances.columns
        self.precise = {k: _zeros(rows, torch.bool) for k in column_radii}
        self.recalled = {k: _zeros(columns, torch.bool) for k in row_radii}
        self.covered = _zeros(columns, torch.bool)
        self.balls = _zeros(rows, torch.int64)

    def count(self, rows: Tensor, columns: slice) -> None:
        """Count the pairs of a block.

        Args:
            rows (Tensor): (R,) int64, indices of rows.
            columns (slice): Range of columns.
        """
        row, column, squares = self._near_pairs(rows, columns)
        for k, radii in self.column_radii.items():
            inside = squares <= radii[column]
            self.precise[k][row[inside]] = True
            if k == self.density_neighbors:
                self.covered[column[inside]] = True
                self.balls += torch.bincount(row[inside], minlength=len(self.balls))
        for k, radii in self.row_radii.items():
            self.recalled[k][column[squares <= radii[row]]] = True

    def _near_pairs(self, rows: Tensor, columns: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Pairs of a block that may be in a ball, with squares on the right side of each radius."""
        low, row_slack, column_slack = self.distances.bounds(rows, columns)
        maybe = low <= self.column_radii[max(self.column_radii)][columns].to(low)
        if self.row_radii:
            maybe |= low <= self.row_radii[max(self.row_radii)][rows].to(low)[:, None]
        row, column = maybe.nonzero(as_tuple=True)
        squares = low[row, column].double()
        high = squares + row_slack[row] + column_slack[column]
        row, column = rows[row], column + columns.start
        unsure = torch.zeros_like(squares, dtype=torch.bool)
        for place, all_radii in ((row, self.row_radii), (column, self.column_radii)):
            for radii in all_radii.values():
                unsure |= (squares <= radii[place]) & (high >= radii[place])
        squares[unsure] = self.distances.exact(row[unsure], column[unsure])
        return row, column, squares


def _zeros(features: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(len(features), dtype=dtype, device=features.device)


def _share(hits: Tensor) -> Estimate:
    """A share with its binomial standard deviation."""
    share = float(hits.double().mean())
    return Estimate(share, (share * (1 - share) / len(hits)) ** 0.5)


def _check_neighbors(option: str, neighbors: Sequence[int], name: str, features: Tensor) -> None:
    for k in neighbors:
        if k < 1:
            raise ValueError(f'{option} must be at least 1, but is {k}')
        if len(features) <= k:
            raise ValueError(
                f'{option} is k = {k}, but {name} holds n = {len(features)} features, each '
                f'with n - 1 neighbors: give more images or a k of at most {len(features) - 1}'
            )
