"""Improved precision and recall, density and coverage."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .distances import Estimate, check_features

__all__ = ['manifold_scores', 'nearest_distances']

BLOCK = 512
ROUNDING = 1e-12
"""More than float64 loses of a squared distance, relative to the squares of both norms."""


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

    * precision: fraction of generated images within any ball of the reference;
    * recall: fraction of reference images within any ball of the generated (both Kynkäänniemi et
      al. 2019, arXiv 1904.06991);
    * density: in how many balls of the reference a generated image lies on average, over k;
    * coverage: fraction of the reference's balls that hold a generated image (both Naeem et al.
      2020, arXiv 2002.09797).

    Args:
        generated (Tensor): Features (N, F).
        reference (Tensor): (M, F).
        precision_neighbors (Sequence[int]): Each k of precision. Defaults to (10, 3).
        recall_neighbors (Sequence[int]): Each k of recall. Defaults to (40, 3).
        density_neighbors (int): k of density and coverage. Defaults to 5.

    Returns:
        dict[tuple[str, int], Estimate]: By name and k, such as ``('precision', 10)``. Standard
        deviations are those of a fraction (or, for density, a mean) of as many independent images,
        with the balls as given.

    Raises:
        ValueError: A set does not hold more features than a k that is asked of it, a k is below 1,
            values are not finite, or the sets differ in width.
    """
    check_features(1, generated=generated, reference=reference)
    reference = reference.to(generated.device)
    _check_neighbors('precision_neighbors', precision_neighbors, 'reference', reference)
    _check_neighbors('density_neighbors', [density_neighbors], 'reference', reference)
    _check_neighbors('recall_neighbors', recall_neighbors, 'generated', generated)
    around_real = _radii(reference, {*precision_neighbors, density_neighbors})
    around_generated = _radii(generated, set(recall_neighbors))
    precise: dict[int, list[Tensor]] = {k: [] for k in precision_neighbors}
    recalled = {k: torch.zeros_like(reference[:, 0], dtype=torch.bool) for k in recall_neighbors}
    covered, balls = torch.zeros_like(reference[:, 0], dtype=torch.bool), []
    for rows, squares in _blocks(generated, reference):
        for k, hits in precise.items():
            hits.append((squares <= around_real[k]).any(1))
        for k in recalled:
            recalled[k] |= (squares <= around_generated[k][rows, None]).any(0)
        inside = squares <= around_real[density_neighbors]
        covered |= inside.any(0)
        balls.append(inside.sum(1).double() / density_neighbors)
    scores = {('precision', k): _fraction(torch.cat(hits)) for k, hits in precise.items()}
    scores |= {('recall', k): _fraction(hits) for k, hits in recalled.items()}
    density = torch.cat(balls)
    spread = float(density.std()) / len(density) ** 0.5 if len(density) > 1 else None
    scores['density', density_neighbors] = Estimate(float(density.mean()), spread)
    scores['coverage', density_neighbors] = _fraction(covered)
    return scores


def nearest_distances(queries: Tensor, points: Tensor) -> Tensor:
    """Measure how far the nearest of points (M, F) is from each query (N, F): (N,) float64."""
    return torch.cat([squares.amin(1) for _, squares in _blocks(queries, points)]).sqrt()


def _blocks(first: Tensor, second: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows of (N, F) and their squared distances to all of (M, F), in float64.

    They come from a matrix product, about the center for the sake of points far from the origin.
    What its rounding leaves of copies is set to 0.
    """
    center = second.mean(dim=0, dtype=torch.float64)
    second = second.double() - center
    norms = second.square().sum(1)
    for start in range(0, len(first), BLOCK):
        rows = slice(start, min(start + BLOCK, len(first)))
        block = first[rows].double() - center
        own = block.square().sum(1, keepdim=True)
        squares = torch.addmm(norms, block, second.T, alpha=-2).add_(own)
        yield rows, squares.masked_fill_(squares <= ROUNDING * (own + norms), 0)


def _radii(features: Tensor, neighbors: set[int]) -> dict[int, Tensor]:
    """Squared distance (N,) of each feature's k-th neighbor; a copy is one, itself is none."""
    parts = []
    for rows, squares in _blocks(features, features) if neighbors else ():
        squares[:, rows].fill_diagonal_(torch.inf)
        parts.append(squares.topk(max(neighbors), largest=False).values)
    # what lies on a ball's surface must not fall outside by rounding
    slack = ROUNDING * (features - features.mean(0)).double().square().sum(1).max()
    return {k: torch.cat(parts)[:, k - 1] + slack for k in neighbors}


def _fraction(hits: Tensor) -> Estimate:
    """A fraction with its binomial standard deviation."""
    value = float(hits.double().mean())
    return Estimate(value, (value * (1 - value) / len(hits)) ** 0.5)


def _check_neighbors(option: str, neighbors: Sequence[int], name: str, features: Tensor) -> None:
    for k in neighbors:
        if k < 1:
            raise ValueError(f'{option} must be at least 1, but is {k}')
        if len(features) <= k:
            raise ValueError(
                f'{option} is k = {k}, but {name} holds n = {len(features)} features, each '
                f'with n - 1 neighbors: give more images or a k of at most {len(features) - 1}'
            )
