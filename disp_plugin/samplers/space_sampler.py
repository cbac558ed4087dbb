"""Distributions of many priors, fitted in raw priors or along their principal axes."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
from mmengine.logging import print_log
from threadpoolctl import threadpool_limits
from torch import Tensor

from disp_plugin.priors import PriorBank

from .base_sampler import PriorSampler
from .empirical_prior_sampler import choose_rows

NUM_PCA_ROWS = 20_000
"""Principal axes are found from at most so many random priors."""
NUM_COARSE_AXES = 64
CHUNK = 2048


def read_blocks(bank: PriorBank, rows: np.ndarray, size: int = 2048) -> Iterator[np.ndarray]:
    """Read unflipped priors of ascending rows as blocks (n, D), float32.

    The bank need not fit into memory.

    Raises:
        ValueError: A prior is not finite; its image is named.
    """
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        block = bank.take(chosen).astype(np.float32)
        bad = ~np.isfinite(block).all(1)
        if bad.any():
            key = bank.keys[int(chosen[bad.argmax()])]
            raise ValueError(
                f'the prior of image {key!r} in {bank} is not finite; rebuild the bank'
            )
        yield block


def compute_mean(bank: PriorBank, rows: np.ndarray) -> np.ndarray:
    """Compute the mean (D,) of some priors, float32.

    Raises:
        ValueError: A prior is not finite, or all are equal.
    """
    total = np.zeros(bank.prior_dim)
    low, high = np.inf, -np.inf
    for block in read_blocks(bank, rows):
        total += block.sum(0, dtype=np.float64)
        low, high = np.minimum(low, block.min(0)), np.maximum(high, block.max(0))
    if np.array_equal(low, high):
        raise ValueError(
            f'all {len(rows)} priors of {bank} are equal: there is no distribution to fit; '
            'see which encoder made them'
        )
    return (total / len(rows)).astype(np.float32)


def find_axes(priors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the principal axes of priors (N, D), and the variance along each, falling.

    Returns:
        tuple[np.ndarray, np.ndarray]: (K,) and (K, D) float32, K the smaller of N and D.
    """
    if len(priors) < priors.shape[1]:
        from sklearn.decomposition import PCA  # here, since sampling does not need it

        pca = PCA(svd_solver='full', copy=False).fit(priors)
        return pca.explained_variance_, pca.components_
    priors -= priors.mean(0, dtype=np.float64)
    covariance = priors.T @ priors
    covariance /= len(priors) - 1
    # its many small steps leave threads waiting for each other; on shared cores several take longer
    with threadpool_limits(1, 'blas'):
        variances, axes = np.linalg.eigh(covariance)
    return np.maximum(variances[::-1], 0), axes.T[::-1]


class SpaceSampler(PriorSampler):
    """Fit to a random part of a bank, in raw priors or along their principal axes.

    Along the axes that are left out, isotropic noise of their variance is drawn. A subclass
    implements :meth:`fit_points` and :meth:`draw_points`.

    Args:
        num_components (int): Components or clusters.
        fit_subset (int): At most so many random priors are fitted to.
        seed (int): Seed of the subset, the start and all else in the fit.
        pca_variance (float | None): Fraction of the variance that the principal axes keep, in
            (0, 1]; None to fit raw priors.

    Raises:
        ValueError: An option is out of range.
    """

    fits_late: ClassVar[bool] = True

    mean: Tensor
    basis: Tensor
    residual_std: Tensor

    def __init__(
        self, num_components: int, fit_subset: int, seed: int, pca_variance: float | None
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if num_components < 1:
            raise ValueError(f'{name} needs at least 1 component, but got {num_components}')
        if fit_subset < num_components:
            raise ValueError(
                f'{name} cannot fit {num_components} components to a subset of {fit_subset} '
                'priors; enlarge fit_subset'
            )
        if pca_variance is not None and not 0 < pca_variance <= 1:
            raise ValueError(
                f'pca_variance of {name} is the fraction of variance to keep, in (0, 1], or None '
                f'for raw priors, but is {pca_variance}'
            )
        self.num_components = num_components
        self.fit_subset = fit_subset
        self.seed = seed
        self.pca_variance = pca_variance
        self.register_buffer('mean', torch.empty(0))
        if pca_variance is not None:
            self.register_buffer('basis', torch.empty(0))
            self.register_buffer('residual_std', torch.empty(0))

    def check(self, bank: PriorBank) -> None:
        """Check that there are enough priors, without reading them."""
        num = bank.num_images
        if num < self.num_components:
            raise ValueError(
                f'{type(self).__name__} is to fit {self.num_components} components to the {num} '
                f'priors of {bank}; set num_components to {num // 10 or 1} or so (at most the '
                'number of priors), or take VicinalMixSampler for so few'
            )

    def fit(self, bank: PriorBank) -> None:
        """Fit to a part of the bank.

        Raises:
            ValueError: Fewer priors than components, or priors that are not finite or all equal.
        """
        self.check(bank)
        print_log(f'{type(self).__name__}: reading priors of {bank}', logger='current')
        rows = choose_rows(bank.num_images, self.fit_subset, self.seed)
        mean = compute_mean(bank, rows)
        self.set_buffer('mean', torch.from_numpy(mean))
        basis = None if self.pca_variance is None else self._fit_axes(bank, rows, mean)
        centered = (block - mean for block in read_blocks(bank, rows))
        self.fit_points(
            np.concatenate([block if basis is None else block @ basis.T for block in centered])
        )

    def _fit_axes(self, bank: PriorBank, rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Find the principal axes (K, D) of some priors, those of the largest variance first."""
        some = rows[choose_rows(len(rows), NUM_PCA_ROWS, self.seed)]
        priors = np.concatenate(list(read_blocks(bank, some))) - mean
        variances, axes = find_axes(priors)
        kept = np.cumsum(variances, dtype=np.float64)
        num = len(axes)
        if self.pca_variance != 1:
            num = min(num, 1 + int(np.searchsorted(kept, self.pca_variance * kept[-1], 'right')))
        basis = np.ascontiguousarray(axes[:num])
        # all the variance that is left out, over all directions that are
        left_out = max(float(kept[-1] - kept[num - 1]), 0.0)
        residual_std = float(np.sqrt(left_out / max(bank.prior_dim - num, 1)))
        self.set_buffer('basis', torch.from_numpy(basis))
        self.set_buffer('residual_std', torch.tensor([residual_std]))
        return basis

    def fit_points(self, points: np.ndarray) -> None:
        """Fit to (N, K) float32 coordinates in the space of the fit."""
        raise NotImplementedError

    def draw(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw priors, a part of them at a time."""
        priors = self.mean.new_empty(num, len(self.mean))
        residual_std = 0.0 if self.pca_variance is None else float(self.residual_std)
        for start in range(0, num, CHUNK):
            part = priors[start : start + CHUNK]
            points = self.draw_points(len(part), generator)
            if self.pca_variance is None:
                torch.add(points, self.mean, out=part)
                continue
            if residual_std == 0:
                torch.addmm(self.mean, points, self.basis, out=part)
                continue
            noise = torch.randn(part.shape, generator=generator).to(part.device)
            noise *= residual_std
            # less what of the noise lies along the axes
            points = points - noise @ self.basis.T
            torch.addmm(self.mean, points, self.basis, out=part).add_(noise)
        return priors

    def draw_points(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw (num, K) coordinates in the space of the fit, on the sampler's device."""
        raise NotImplementedError

    def cluster(self, points: np.ndarray, seed: int) -> np.ndarray:
        """Find the cluster of each point by K-means in portions; no cluster is empty.

        Portions keep the memory from growing with the number of points.
        """
        from sklearn.cluster import MiniBatchKMeans

        num = self.num_components
        kmeans = MiniBatchKMeans(
            num, batch_size=max(2048, 2 * num), n_init=1, max_iter=20, random_state=seed
        )
        return fill_empty(kmeans.fit(np.ascontiguousarray(points)).labels_, num, seed)


def sum_by_label(points: np.ndarray, labels: np.ndarray, num_labels: int) -> np.ndarray:
    """Add up the points (N, K) of each label, to (num_labels, K) float64."""
    parts = (points[labels == label] for label in range(num_labels))
    return np.stack([part.sum(0, dtype=np.float64) for part in parts])


def fill_empty(labels: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """Give each empty cluster a random point of a cluster that has several."""
    labels = labels.copy()
    counts = np.bincount(labels, minlength=num_clusters)
    empty = list(np.flatnonzero(counts == 0))
    for row in np.random.default_rng(seed).permutation(len(labels)):
        if not empty:
            break
        if counts[labels[row]] > 1:
            counts[labels[row]] -= 1
            labels[row] = empty.pop()
            counts[labels[row]] = 1
    return labels
