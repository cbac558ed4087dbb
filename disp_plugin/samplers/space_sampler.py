"""Distributions of many priors, fitted in raw priors or along their principal axes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from mmagic.registry import MODELS
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA
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


@dataclass
class FitSpace:
    """Coordinates of priors around their mean, and the way back.

    Attributes:
        mean (np.ndarray): (D,) float32.
        basis (np.ndarray | None): (K, D) float32 with orthonormal rows, those of the largest
            variance first; None for raw priors.
        residual_std (float): Standard deviation, alike in all directions, of what the basis leaves
            out.
    """

    mean: np.ndarray
    basis: np.ndarray | None = None
    residual_std: float = 0.0

    @classmethod
    def fit(
        cls, bank: PriorBank, rows: np.ndarray, pca_variance: float | None, seed: int
    ) -> 'FitSpace':
        """Find the mean and, where asked for, the principal axes of some priors.

        The axes keep the fraction ``pca_variance`` of the variance, in (0, 1]; None is for raw
        priors. The seed chooses the rows that the axes are found from, if there are many.

        Raises:
            ValueError: A prior is not finite, or all are equal.
        """
        total = np.zeros(bank.prior_dim)
        low = np.full(bank.prior_dim, np.inf, np.float32)
        high = -low
        for block in read_blocks(bank, rows):
            total += block.sum(0, dtype=np.float64)
            low, high = np.minimum(low, block.min(0)), np.maximum(high, block.max(0))
        if np.array_equal(low, high):
            raise ValueError(
                f'all {len(rows)} priors of {bank} are equal: there is no distribution to fit; '
                'see which encoder made them'
            )
        mean = (total / len(rows)).astype(np.float32)
        if pca_variance is None:
            return cls(mean)
        some = rows[choose_rows(len(rows), NUM_PCA_ROWS, seed)]
        priors = np.concatenate(list(read_blocks(bank, some))) - mean
        solver = 'covariance_eigh' if len(priors) >= bank.prior_dim else 'full'
        keep = pca_variance if pca_variance < 1 else None
        pca = PCA(keep, svd_solver=solver, copy=False).fit(priors)
        basis = np.asarray(pca.components_, np.float32)
        # all the variance that is left out, over all directions that are
        kept = float(pca.explained_variance_.sum())
        left_out = max(kept / float(pca.explained_variance_ratio_.sum()) - kept, 0.0)
        return cls(mean, basis, float(np.sqrt(left_out / max(bank.prior_dim - len(basis), 1))))

    def project(self, bank: PriorBank, rows: np.ndarray) -> np.ndarray:
        """Compute the coordinates of priors, (N, K) float32, or (N, D) for raw priors."""
        num_axes = len(self.mean) if self.basis is None else len(self.basis)
        points = np.empty((len(rows), num_axes), np.float32)
        start = 0
        for block in read_blocks(bank, rows):
            centered = block - self.mean
            points[start : start + len(block)] = (
                centered if self.basis is None else centered @ self.basis.T
            )
            start += len(block)
        return points


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
        rows = choose_rows(bank.num_images, self.fit_subset, self.seed)
        space = FitSpace.fit(bank, rows, self.pca_variance, self.seed)
        self.set_buffer('mean', torch.from_numpy(space.mean))
        if space.basis is not None:
            self.set_buffer('basis', torch.from_numpy(space.basis))
            self.set_buffer('residual_std', torch.tensor([space.residual_std]))
        self.fit_points(space.project(bank, rows))

    def fit_points(self, points: np.ndarray) -> None:
        """Fit to (N, K) float32 coordinates in the space of the fit."""
        raise NotImplementedError

    def draw(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw priors, a part of them at a time."""
        priors = self.mean.new_empty(num, len(self.mean))
        for start in range(0, num, CHUNK):
            part = priors[start : start + CHUNK]
            points = self.draw_points(len(part), generator)
            if self.pca_variance is None:
                torch.add(points, self.mean, out=part)
                continue
            if self.residual_std == 0:
                torch.addmm(self.mean, points, self.basis, out=part)
                continue
            noise = torch.randn(part.shape, generator=generator).to(part.device)
            noise *= self.residual_std
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
        num = self.num_components
        kmeans = MiniBatchKMeans(
            num, batch_size=max(2048, 2 * num), n_init=1, max_iter=20, random_state=seed
        )
        return fill_empty(kmeans.fit(np.ascontiguousarray(points)).labels_, num, seed)


@MODELS.register_module()
class KMeansPriorSampler(SpaceSampler):
    """Draw the centers of K-means clusters, each as often as its cluster is large.

    The paper's alternative to a Gaussian mixture, by scikit-learn's ``MiniBatchKMeans``.

    Args:
        num_components (int): Clusters. Defaults to 1000.
        fit_subset (int): At most so many random priors are clustered. Defaults to 200000.
        seed (int): Seed of the subset and the clustering. Defaults to 0.
        pca_variance (float, optional): Cluster along the principal axes that keep this fraction of
            the variance. Defaults to None: raw priors.

    Raises:
        ValueError: An option is out of range.
    """

    centers: Tensor
    weights: Tensor

    def __init__(
        self,
        num_components: int = 1000,
        fit_subset: int = 200_000,
        seed: int = 0,
        pca_variance: float | None = None,
    ) -> None:
        super().__init__(num_components, fit_subset, seed, pca_variance)
        self.register_buffer('centers', torch.empty(0))
        self.register_buffer('weights', torch.empty(0))

    def fit_points(self, points: np.ndarray) -> None:
        """Cluster the points; keep centers and sizes."""
        labels = self.cluster(points, self.seed)
        counts = np.bincount(labels, minlength=self.num_components)
        centers = sum_by_label(points, labels, self.num_components) / counts[:, None]
        self.set_buffer('centers', torch.from_numpy(centers.astype(np.float32)))
        self.set_buffer('weights', torch.from_numpy((counts / len(points)).astype(np.float32)))
        if self.pca_variance is not None:
            self.residual_std.zero_()  # a center is a mean, without noise

    def draw_points(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw centers."""
        chosen = torch.multinomial(self.weights.cpu(), num, replacement=True, generator=generator)
        return self.centers[chosen.to(self.centers.device)]


def sum_by_label(points: np.ndarray, labels: np.ndarray, num_labels: int) -> np.ndarray:
    """Add up the points (N, K) of each label, to (num_labels, K) float64."""
    order = np.argsort(labels, kind='stable')
    sums = np.zeros((num_labels, points.shape[1]))
    edges = np.searchsorted(labels[order], np.arange(num_labels + 1))
    for label in range(num_labels):
        rows = order[edges[label] : edges[label + 1]]
        sums[label] = points[rows].sum(0, dtype=np.float64)
    return sums


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
