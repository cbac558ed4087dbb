"""K-means clusters of priors."""

import numpy as np
import torch
from mmagic.registry import MODELS
from torch import Tensor

from .space_sampler import SpaceSampler, sum_by_label


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
