"""The Fréchet distance between Gaussians fitted to two sets of features: FID."""

from __future__ import annotations

import torch
from torch import Tensor

from .estimate import Estimate, check_features

__all__ = ['frechet_distance']

BLOCK = 4096


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
    mean, other_mean = _mean(generated), _mean(reference)
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


def _mean(features: Tensor) -> Tensor:
    return features.mean(dim=0, dtype=torch.float64)


def _covariance_root(features: Tensor, mean: Tensor) -> Tensor:
    """A matrix W (R, F) with ``W.T @ W`` the unbiased covariance, R at most F."""
    num, width = features.shape
    if num <= width:
        return (features.double() - mean) / (num - 1) ** 0.5
    covariance = torch.zeros(width, width, dtype=torch.float64, device=features.device)
    for block in features.split(BLOCK):
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
    for block in generated.split(BLOCK):
        block = block.double()
        mapped = (block - mean) @ stretch.T
        moves.append((block - other_mean).square().sum(1) - mapped.square().sum(1))
    return float(torch.cat(moves).var() / len(generated)) ** 0.5
