"""What samplers share that fit a distribution to many priors, in a space of their choice."""

from typing import Any

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA
from torch import Tensor

from disp_plugin.priors import PriorBank

from .base_sampler import PriorSampler
from .fit_space import FitSpace, choose_rows

NUM_COARSE_AXES = 64
CHUNK = 2048


class SpaceSampler(PriorSampler):
    """Fit to a random part of a bank, in raw priors or along their principal axes.

    Priors along the axes that are left out are sampled as isotropic noise of their variance.

    Args:
        num_components (int): Components or clusters.
        fit_subset (int): At most so many random priors are fitted to.
        seed (int): Seed of the subset, the start and all else in the fit.
        pca_variance (float | None): Share of the variance that the principal axes keep, in (0, 1];
            None to fit raw priors.

    Raises:
        ValueError: An option is out of range.
    """

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
                f'pca_variance of {name} is the share of variance to keep, in (0, 1], or None for '
                f'raw priors, but is {pca_variance}'
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
        """See that there are enough priors, without reading them.

        Args:
            bank (PriorBank): The bank.

        Raises:
            ValueError: Fewer priors than components.
        """
        num = bank.num_images
        if num < self.num_components:
            raise ValueError(
                f'{type(self).__name__} is to fit {self.num_components} components to the {num} '
                f'priors of {bank}; set num_components to {num // 10 or 1} or so (at most the '
                'number of priors), or take VicinalMixSampler for so few'
            )

    def load_points(self, bank: PriorBank) -> np.ndarray:
        """Read the priors to fit to, and keep the space they are fitted in.

        Args:
            bank (PriorBank): The bank; its unflipped view is used.

        Returns:
            np.ndarray: (N, K) float32 coordinates.

        Raises:
            ValueError: Fewer priors than components, priors that are not finite or all equal.
        """
        self.check(bank)
        rows = choose_rows(bank.num_images, self.fit_subset, self.seed)
        space = FitSpace.fit(bank, rows, self.pca_variance, self.seed)
        self.set_buffer('mean', torch.from_numpy(space.mean))
        if space.basis is not None:
            self.set_buffer('basis', torch.from_numpy(space.basis))
            self.set_buffer('residual_std', torch.tensor([space.residual_std]))
        return space.project(bank, rows)

    def draw(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw priors, a part of them at a time.

        Args:
            num (int): How many.
            generator (torch.Generator | None): Source of randomness on the CPU.

        Returns:
            Tensor: (num, D).
        """
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
        """Draw coordinates in the space of the fit.

        Args:
            num (int): How many.
            generator (torch.Generator | None): Source of randomness on the CPU.

        Returns:
            Tensor: (num, K), on the sampler's device.
        """
        raise NotImplementedError

    def start_clusters(self, points: np.ndarray, seed: int) -> np.ndarray:
        """Cluster points quickly: K-means in portions, along the axes of most variance.

        Args:
            points (np.ndarray): (N, K).
            seed (int): Seed of the start.

        Returns:
            np.ndarray: (N,) int, the cluster of each point; none is empty.
        """
        coarse = points
        if points.shape[1] > NUM_COARSE_AXES:
            if self.pca_variance is None:
                some = points[choose_rows(len(points), 4000, seed)]
                num_axes = min(NUM_COARSE_AXES, len(some))
                axes = PCA(num_axes, copy=False, svd_solver='randomized', random_state=seed)
                axes.fit(some)
                coarse = points @ axes.components_.T
            else:
                coarse = points[:, :NUM_COARSE_AXES]
        labels = cluster(coarse, self.num_components, seed).labels_
        return fill_empty(labels, self.num_components, seed)


def cluster(points: np.ndarray, num_clusters: int, seed: int) -> Any:
    """Run K-means in portions.

    Args:
        points (np.ndarray): (N, K).
        num_clusters (int): Clusters.
        seed (int): Seed.

    Returns:
        MiniBatchKMeans: Fitted.
    """
    batch_size = max(2048, 2 * num_clusters)
    kmeans = MiniBatchKMeans(
        num_clusters, batch_size=batch_size, n_init=1, max_iter=20, random_state=seed
    )
    return kmeans.fit(np.ascontiguousarray(points))


def fill_empty(labels: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """Give every cluster without a point one of a cluster that has several.

    Args:
        labels (np.ndarray): (N,) int, N at least ``num_clusters``.
        num_clusters (int): Clusters.
        seed (int): Which points move.

    Returns:
        np.ndarray: (N,) int, in which every cluster occurs.
    """
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
