"""Centers of clusters of priors: the paper's alternative to a Gaussian mixture."""

import numpy as np
import torch
from mmagic.registry import MODELS
from torch import Tensor

from disp_plugin.priors import PriorBank

from .space_sampler import SpaceSampler, cluster, fill_empty


@MODELS.register_module()
class KMeansPriorSampler(SpaceSampler):
    """Draw the centers of K-means clusters, each as often as its cluster is large.

    Clustered by scikit-learn's ``MiniBatchKMeans``, whose memory does not grow with the data.

    Args:
        num_components (int): Clusters. Defaults to 1000.
        fit_subset (int): At most so many random priors are clustered. Defaults to 200000.
        seed (int): Seed of the subset and the clustering. Defaults to 0.
        pca_variance (float, optional): Cluster along the principal axes that keep this share of the
            variance. Defaults to None: raw priors.

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

    def fit(self, bank: PriorBank) -> None:
        """Cluster a part of the bank.

        Args:
            bank (PriorBank): The bank; its unflipped view is used.

        Raises:
            ValueError: Fewer priors than clusters, priors that are not finite or all equal.
        """
        points = self.load_points(bank)
        labels = cluster(points, self.num_components, self.seed).labels_
        labels = fill_empty(labels, self.num_components, self.seed)
        counts = np.bincount(labels, minlength=self.num_components)
        centers = sum_by_label(points, labels, self.num_components) / counts[:, None]
        self.set_buffer('centers', torch.from_numpy(centers.astype(np.float32)))
        self.set_buffer('weights', torch.from_numpy((counts / len(points)).astype(np.float32)))
        if self.pca_variance is not None:
            self.residual_std.zero_()  # a center is a mean, without noise

    def draw_points(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw centers.

        Args:
            num (int): How many.
            generator (torch.Generator | None): Source of randomness on the CPU.

        Returns:
            Tensor: (num, K).
        """
        chosen = torch.multinomial(self.weights.cpu(), num, replacement=True, generator=generator)
        return self.centers[chosen.to(self.centers.device)]


def sum_by_label(points: np.ndarray, labels: np.ndarray, num_labels: int) -> np.ndarray:
    """Add up the points of each label.

    Args:
        points (np.ndarray): (N, K).
        labels (np.ndarray): (N,) int in [0, num_labels).
        num_labels (int): L.

    Returns:
        np.ndarray: (L, K) float64.
    """
    order = np.argsort(labels, kind='stable')
    sums = np.zeros((num_labels, points.shape[1]))
    edges = np.searchsorted(labels[order], np.arange(num_labels + 1))
    for label in range(num_labels):
        rows = order[edges[label] : edges[label + 1]]
        sums[label] = points[rows].sum(0, dtype=np.float64)
    return sums
