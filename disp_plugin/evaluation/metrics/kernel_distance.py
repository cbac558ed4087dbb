"""The kernel distance of two sets of features: KID."""

import torch
from torch import Tensor

from .estimate import Estimate, check_features

__all__ = ['kernel_distance']

BLOCK = 512


def kernel_distance(generated: Tensor, reference: Tensor) -> Estimate:
    """Measure the unbiased squared MMD over all samples (Binkowski et al. 2018, arXiv 1801.01401).

    ``mean k(x, x') - 2 mean k(x, y) + mean k(y, y')`` over pairs of different samples, with
    ``k(x, y) = (x.y / F + 1)^3``, in float64. It may lie a little below 0.

    Args:
        generated (Tensor): (N, F) floating point, on any device that has float64.
        reference (Tensor): (M, F) likewise.

    Returns:
        Estimate: The distance, and its standard deviation over draws of the generated images by the
        jackknife; None for that where N is 2.

    Raises:
        ValueError: A set has fewer than 2 features, values that are not finite, or another width.
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
    return torch.cat([(b.double() @ second.T + 1).pow_(3).sum(1) for b in first.split(BLOCK)])


def _sums_over_others(features: Tensor) -> Tensor:
    """Sum the kernel of each row of (N, F) with all other rows: (N,) float64."""
    norms = features.double().square().sum(1) / features.shape[1]
    return _kernel_sums(features, features) - (norms + 1) ** 3
