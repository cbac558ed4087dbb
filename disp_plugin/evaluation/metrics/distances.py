"""Distances of two sets of features: Fréchet (FID) and kernel (KID)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ['Estimate', 'check_features', 'frechet_distance', 'kernel_distance']

GAUSSIAN_BLOCK = 4096
KERNEL_BLOCK = 512


class Estimate(NamedTuple):
    """A measured value with its standard deviation."""

    value: float
    standard_deviation: float | None = None
    """How far another draw of the samples would move the value; None where that is not known."""


def check_features(least: int = 2, **sets: Tensor) -> None:
    """Validate feature matrices (N, F), given under the names that messages call them by.

    Raises:
        ValueError: A set is not (N, F) floating point with the F of the others, has fewer than
            ``least`` rows, or holds a value that is not finite.
    """
    for name, features in sets.items():
        if features.ndim != 2 or not features.is_floating_point():
            raise ValueError(
                f'{name} must be floating point features (N, F), but is {features.dtype} of shape '
                f'{tuple(features.shape)}'
            )
        if len(features) < least:
            raise ValueError(
                f'{name} holds {len(features)} feature(s), at least {least} are needed: give more '
                'images'
            )
        if not all(torch.isfinite(extreme) for extreme in features.aminmax()):
            raise ValueError(
                f'{name} holds values that are not finite: see whether its images are damaged or '
                'the encoder ran out of range (half precision)'
            )
    if len({features.shape[1] for features in sets.values()}) > 1:
        text = ', '.join(f'{name} {features.shape[1]}' for name, features in sets.items())
        raise ValueError(f'the sets differ in width ({text}): extract them with the same encoder')


def frechet_distance(generated: Tensor, reference: Tensor) -> Estimate:
    """Measure the Fréchet distance of two sets (Heusel et al. 2017, arXiv 1706.08500).

    ``|m - n|^2 + tr(A) + tr(B) - 2 tr((A B)^(1/2))`` for means m, n and covariances A, B. With
    ``A = W.T @ W`` and ``B = V.T @ V`` the last trace is the sum of the singular values of
    ``W @ V.T``: real and finite at every rank.

    Args:
        generated (Tensor): (N, F) floating point, on any device that has float64.
        reference (Tensor): (M, F) likewise.

    Returns:
        Estimate: The distance, at least 0, and its standard deviation over draws of the generated
        images. That is None where N <= F: the distance is then mostly bias.

    Raises:
        ValueError: A set has fewer than 2 features, values that are not finite, or another width.
    """
    check_features(generated=generated, reference=reference)
    reference = reference.to(generated.device)
    mean, other_mean = (each.mean(dim=0, dtype=torch.float64) for each in (generated, reference))
    root, other_root = _covariance_root(generated, mean), _covariance_root(reference, other_mean)
    has_full_rank = len(generated) > generated.shape[1]
    product = root @ other_root.T
    if has_full_rank:
        left, common, _ = torch.linalg.svd(product, full_matrices=False)
    else:
        common = torch.linalg.svdvals(product)
    shift = (mean - other_mean).square().sum()
    traces = root.square().sum() + other_root.square().sum()
    value = max(float(shift + traces - 2 * common.sum()), 0.0)
    if not has_full_rank:
        return Estimate(value)
    # the optimal map from the first Gaussian to the second is stretch.T @ stretch
    stretch = common.sqrt()[:, None] * (left.T @ _inverse_root(root))
    return Estimate(value, _deviation(generated, mean, other_mean, stretch))


def _covariance_root(features: Tensor, mean: Tensor) -> Tensor:
    """A matrix W (R, F) with ``W.T @ W`` the unbiased covariance, R at most F."""
    num, width = features.shape
    if num <= width:
        return (features.double() - mean) / (num - 1) ** 0.5
    covariance = torch.zeros(width, width, dtype=torch.float64, device=features.device)
    for block in features.split(GAUSSIAN_BLOCK):
        centered = block.double() - mean
        covariance.addmm_(centered.T, centered, alpha=1 / (num - 1))
    values, vectors = torch.linalg.eigh(covariance)
    return values.clamp(min=0).sqrt()[:, None] * vectors.T


def _inverse_root(root: Tensor) -> Tensor:
    """The inverse root for a root with orthogonal rows; 0 along rows that are about 0."""
    squares = root.square().sum(dim=1, keepdim=True)
    floor = squares.max() * len(squares) * torch.finfo(torch.float64).eps
    return torch.where(squares > floor, root / squares, 0.0)


def _deviation(generated: Tensor, mean: Tensor, other_mean: Tensor, stretch: Tensor) -> float:
    """Standard deviation by the delta method.

    One feature x, drawn instead of another, moves the distance by I(x) / N with
    ``I(x) = |x - n|^2 - (x - m)^T T (x - m)`` up to a constant, where T is the optimal map.
    """
    moves = []
    for block in generated.split(GAUSSIAN_BLOCK):
        block = block.double()
        mapped = (block - mean) @ stretch.T
        moves.append((block - other_mean).square().sum(1) - mapped.square().sum(1))
    return float(torch.cat(moves).var() / len(generated)) ** 0.5


def kernel_distance(generated: Tensor, reference: Tensor) -> Estimate:
    """Measure the unbiased squared MMD over all samples (Binkowski et al. 2018, arXiv 1801.01401).

    ``mean k(x, x') - 2 mean k(x, y) + mean k(y, y')`` over pairs of different samples, with
    ``k(x, y) = (x.y / F + 1)^3``, in float64. It may lie a little below 0. Arguments and errors are
    those of :func:`frechet_distance`.

    Returns:
        Estimate: The distance, and its standard deviation over draws of the generated images by the
        jackknife; None for that where N is 2.
    """
    check_features(generated=generated, reference=reference)
    reference = reference.to(generated.device)
    num, num_other = len(generated), len(reference)
    own, other = _sums_over_others(generated), _kernel_sums(generated, reference)
    constant = _sums_over_others(reference).sum() / (num_other * (num_other - 1))

    def distance(own_sum: Tensor, cross_sum: Tensor, n: int) -> Tensor:
        return own_sum / (n * (n - 1)) - 2 * cross_sum / (n * num_other) + constant

    value = float(distance(own.sum(), other.sum(), num))
    if num == 2:
        return Estimate(value)
    without_one = distance(own.sum() - 2 * own, other.sum() - other, num - 1)
    variance = (num - 1) * without_one.var(correction=0)
    return Estimate(value, float(variance) ** 0.5)


def _kernel_sums(first: Tensor, second: Tensor) -> Tensor:
    """Sum the kernel of each row of (N, F) with all rows of (M, F): (N,) float64."""
    second = second.double() / second.shape[1]
    blocks = first.split(KERNEL_BLOCK)
    return torch.cat([(block.double() @ second.T + 1).pow_(3).sum(1) for block in blocks])


def _sums_over_others(features: Tensor) -> Tensor:
    """Sum the kernel of each row of (N, F) with all other rows: (N,) float64."""
    norms = features.double().square().sum(1) / features.shape[1]
    return _kernel_sums(features, features) - (norms + 1) ** 3
