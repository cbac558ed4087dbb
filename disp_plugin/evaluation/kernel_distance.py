"""The kernel distance of two sets of features: KID."""

import numpy as np
import torch
from torch import Tensor

from .check_features import check_features
from .estimate import Estimate

BLOCK = 2048


def kernel_distance(generated: Tensor, reference: Tensor) -> Estimate:
    """Measure the unbiased squared MMD over all samples (Binkowski et al. 2018, arXiv 1801.01401).

    ``mean k(x, x') - 2 mean k(x, y) + mean k(y, y')`` over pairs of different samples, with
    ``k(x, y) = (x.y / F + 1)^3``, in float64 and by blocks. It may lie a little below 0.

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
    own = own_row_sums(generated)
    once = torch.ones(num_other, 1, dtype=torch.float64, device=generated.device)
    other = weighted_sums(generated, reference, once)[:, 0]
    constant = own_row_sums(reference).sum() / (num_other * (num_other - 1))

    def distance(own_sum: Tensor, cross_sum: Tensor, n: int) -> Tensor:
        return own_sum / (n * (n - 1)) - 2 * cross_sum / (n * num_other) + constant

    value = float(distance(own.sum(), other.sum(), num))
    if num == 2:
        return Estimate(value)
    without_one = distance(own.sum() - 2 * own, other.sum() - other, num - 1)
    variance = (num - 1) * without_one.var(correction=0)
    return Estimate(value, float(variance) ** 0.5)


def kernel_distance_of_subsets(
    generated: Tensor,
    reference: Tensor,
    num_subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Measure KID as it is usually published: the mean over random subsets of both sets.

    With the same seed the subsets are those of torch-fidelity.

    Args:
        generated (Tensor): (N, F) floating point.
        reference (Tensor): (M, F) likewise.
        num_subsets (int): How many subsets. Defaults to 100.
        subset_size (int): Features in each, drawn without repetition; if a set has fewer, so many
            as the smaller set has. Defaults to 1000.
        seed (int): Seed of the subsets. Defaults to 0.

    Returns:
        Estimate: The mean over subsets, and the standard deviation of a single subset, which is
        what is published beside it, not that of the mean.

    Raises:
        ValueError: A set has fewer than 2 features, values that are not finite, or another width;
            ``num_subsets`` is below 1 or ``subset_size`` below 2.
    """
    check_features(generated=generated, reference=reference)
    if num_subsets < 1 or subset_size < 2:
        raise ValueError(
            'num_subsets must be at least 1 and subset_size at least 2, but they are '
            f'{num_subsets} and {subset_size}'
        )
    size = min(subset_size, len(generated), len(reference))
    rng = np.random.RandomState(seed)
    values = []
    for _ in range(num_subsets):
        parts = [
            features[torch.from_numpy(rng.choice(len(features), size, replace=False))]
            for features in (generated, reference)
        ]
        values.append(kernel_distance(*parts).value)
    return Estimate(float(np.mean(values)), float(np.std(values)))


def weighted_sums(first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
    """Add up the kernel of each sample with all of another set, ``k(first, second) @ weights``.

    Args:
        first (Tensor): (N, F) floating point.
        second (Tensor): (M, F) likewise, on the same device.
        weights (Tensor): (M, W) float64.

    Returns:
        Tensor: (N, W) float64.
    """
    sums = torch.zeros(len(first), weights.shape[1], dtype=torch.float64, device=first.device)
    for start in range(0, len(first), BLOCK):
        part = slice(start, start + BLOCK)
        for block, weight in zip(second.split(BLOCK), weights.split(BLOCK), strict=True):
            sums[part] += _kernel(first[part], block) @ weight
    return sums


def own_row_sums(features: Tensor) -> Tensor:
    """Add up the kernel of each sample with all others of its set.

    Args:
        features (Tensor): (N, F) floating point.

    Returns:
        Tensor: (N,) float64.
    """
    sums = torch.zeros(len(features), dtype=torch.float64, device=features.device)
    for start in range(0, len(features), BLOCK):
        part = slice(start, start + BLOCK)
        own = _kernel(features[part], features[part]).fill_diagonal_(0)
        sums[part] += own.sum(1)
        for later in range(start + BLOCK, len(features), BLOCK):
            block = _kernel(features[part], features[later : later + BLOCK])
            sums[part] += block.sum(1)
            sums[later : later + BLOCK] += block.sum(0)
    return sums


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    """(x.y / F + 1)^3 of (N, F) and (M, F): (N, M) float64."""
    product = (first.double() @ second.double().T).div_(first.shape[1]).add_(1)
    return product.pow_(3)
