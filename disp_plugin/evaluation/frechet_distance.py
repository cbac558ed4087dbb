"""The Fréchet distance between Gaussians fitted to two sets of features: FID."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .check_features import check_features
from .estimate import Estimate

BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A Gaussian fitted to features.

    Attributes:
        num (int): n, how many features.
        mean (Tensor): (F,) float64.
        rows (Tensor | None): (R, F) float64 whose ``rows.T @ rows`` is the covariance, where that
            takes at most F rows; None otherwise.
        covariance (Tensor | None): (F, F) float64, unbiased, where there are no ``rows``.
    """

    num: int
    mean: Tensor
    rows: Tensor | None = None
    covariance: Tensor | None = None

    @property
    def variance(self) -> float:
        """Trace of the covariance."""
        if self.rows is not None:
            return float(self.rows.square().sum())
        assert self.covariance is not None
        return float(self.covariance.trace())

    @cached_property
    def axes(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues (F,) of the covariance, not below 0, and eigenvectors (F, F), as rows."""
        assert self.covariance is not None
        values, vectors = torch.linalg.eigh(self.covariance)
        return values.clamp(min=0), vectors.T

    def root(self) -> Tensor:
        """A matrix W with ``W.T @ W`` the covariance: ``rows`` or (F, F)."""
        if self.rows is not None:
            return self.rows
        values, vectors = self.axes
        return values.sqrt()[:, None] * vectors

    def seen_along(self, rows: Tensor) -> Tensor:
        """Give the covariance C in other coordinates.

        Args:
            rows (Tensor): (R, F) float64.

        Returns:
            Tensor: (R, R), ``rows @ C @ rows.T``.
        """
        if self.rows is not None:
            cross = rows @ self.rows.T
            return cross @ cross.T
        assert self.covariance is not None
        return rows @ self.covariance @ rows.T


def fit_gaussian(features: Tensor, counts: Tensor | None = None) -> Gaussian:
    """Take mean and covariance, in float64 and by blocks.

    Args:
        features (Tensor): (N, F).
        counts (Tensor, optional): (N,) how often each feature occurs. Defaults to None: once.

    Returns:
        Gaussian: Of n = N features, or of as many as the counts add up to.
    """
    if counts is not None:
        features, counts = features[counts > 0], counts[counts > 0].double()[:, None]
    num = len(features) if counts is None else int(counts.sum())

    def weighted(start: int, values: Tensor) -> Tensor:
        return values if counts is None else values * counts[start : start + len(values)]

    width = features.shape[1]
    blocks = [(start, features[start : start + BLOCK]) for start in range(0, len(features), BLOCK)]
    mean = torch.zeros(width, dtype=torch.float64, device=features.device)
    for start, block in blocks:
        mean += weighted(start, block.double()).sum(0) / num
    if len(features) <= width:
        rows = features.double() - mean
        scale = torch.ones_like(mean[:1]) if counts is None else counts
        return Gaussian(num, mean, rows=rows * (scale / (num - 1)).sqrt())
    covariance = torch.zeros(width, width, dtype=torch.float64, device=features.device)
    for start, block in blocks:
        centered = block.double() - mean
        covariance.addmm_(weighted(start, centered).T, centered, alpha=1 / (num - 1))
    return Gaussian(num, mean, covariance=covariance)


def gaussian_distance(first: Gaussian, second: Gaussian) -> float:
    """Compare two Gaussians.

    ``|m - n|^2 + tr(A) + tr(B) - 2 tr((A B)^(1/2))``, the last as a sum of singular values, or of
    roots of a symmetric matrix's eigenvalues, so that it is real and finite at every rank.

    Args:
        first (Gaussian): m and A.
        second (Gaussian): n and B.

    Returns:
        float: The squared 2-Wasserstein distance, not below 0.
    """
    if first.rows is not None and second.rows is not None:
        common = torch.linalg.svdvals(first.rows @ second.rows.T).sum()
    else:
        narrow, other = (first, second) if second.rows is None else (second, first)
        squares = torch.linalg.eigvalsh(other.seen_along(narrow.root()))
        common = squares.clamp(min=0).sqrt().sum()
    shift = (first.mean - second.mean).square().sum()
    return max(float(shift) + first.variance + second.variance - 2 * float(common), 0.0)


def frechet_distance(generated: Tensor, reference: Tensor) -> Estimate:
    """Measure the Fréchet distance of two sets (Heusel et al. 2017, arXiv 1706.08500).

    Args:
        generated (Tensor): (N, F) floating point, on any device that has float64.
        reference (Tensor): (M, F) likewise.

    Returns:
        Estimate: The distance, at least 0, and its standard deviation over draws of the generated
        images; that is None where N <= F, at which the distance is mostly bias.

    Raises:
        ValueError: A set has fewer than 2 features, values that are not finite, or another width.
    """
    check_features(generated=generated, reference=reference)
    first, second = fit_gaussian(generated), fit_gaussian(reference.to(generated.device))
    value = gaussian_distance(first, second)
    if first.rows is not None:
        return Estimate(value)
    return Estimate(value, _deviation(generated, first, second))


def _deviation(generated: Tensor, first: Gaussian, second: Gaussian) -> float:
    """Standard deviation by the delta method.

    One feature x, drawn instead of another, moves the distance by I(x) / n with
    ``I(x) = |x - n|^2 - (x - m)^T T (x - m)`` up to a constant, where T is the matrix of the
    optimal map from the first Gaussian to the second.
    """
    values, vectors = first.axes
    floor = values.max() * len(values) * torch.finfo(torch.float64).eps
    whiten = torch.where(values > floor, values.rsqrt(), 0.0)[:, None] * vectors
    squares, turn = torch.linalg.eigh(second.seen_along(first.root()))
    # T = stretch.T @ stretch
    stretch = squares.clamp(min=0).pow(0.25)[:, None] * (turn.T @ whiten)
    moves = []
    for block in generated.split(BLOCK):
        block = block.double()
        mapped = (block - first.mean) @ stretch.T
        moves.append((block - second.mean).square().sum(1) - mapped.square().sum(1))
    return float(torch.cat(moves).var() / len(generated)) ** 0.5
