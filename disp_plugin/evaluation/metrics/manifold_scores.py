"""Improved precision and recall, density and coverage."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .estimate import Estimate, check_features

__all__ = ['manifold_scores', 'nearest_distances']

BLOCK = 512


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
        generated (Tensor): (N, F) floating point.
        reference (Tensor): (M, F) likewise.
        precision_neighbors (Sequence[int]): k of precision; one number for each.
            Defaults to (10, 3).
        recall_neighbors (Sequence[int]): k of recall, likewise. Defaults to (40, 3).
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
    for rows, distances in _blocks(generated, reference):
        for k, hits in precise.items():
            hits.append((distances <= around_real[k]).any(1))
        for k in recalled:
            recalled[k] |= (distances <= around_generated[k][rows, None]).any(0)
        inside = distances <= around_real[density_neighbors]
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
    """Measure how far the nearest point of each query is.

    Args:
        queries (Tensor): (N, F) floating point.
        points (Tensor): (M, F) likewise, on the same device.

    Returns:
        Tensor: (N,) float64.
    """
    return torch.cat([distances.amin(1) for _, distances in _blocks(queries, points)])


def _blocks(first: Tensor, second: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows of (N, F) and their distances to all of (M, F), in float64.

    They come from differences, not from a matrix product, whose rounding hides near copies: equal
    pairs have equal distances, and copies the distance 0.
    """
    second = second.double()
    for start in range(0, len(first), BLOCK):
        rows = slice(start, min(start + BLOCK, len(first)))
        mode = 'donot_use_mm_for_euclid_dist'
        yield rows, torch.cdist(first[rows].double(), second, compute_mode=mode)


def _radii(features: Tensor, neighbors: set[int]) -> dict[int, Tensor]:
    """Distance (N,) of each feature's k-th neighbor; a copy elsewhere is one, itself is none."""
    parts = []
    for rows, distances in _blocks(features, features) if neighbors else ():
        distances[:, rows].fill_diagonal_(torch.inf)
        parts.append(distances.topk(max(neighbors), largest=False).values)
    return {k: torch.cat(parts)[:, k - 1] for k in neighbors}


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
