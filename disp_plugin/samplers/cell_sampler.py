"""Cells of training images in place of their priors: one condition for each cell."""

from collections.abc import Sequence

import numpy as np
import torch
from mmagic.registry import MODELS
from torch import Tensor
from torch.nn import functional

from disp_plugin.priors import PriorBank

from .base_sampler import PriorSampler
from .space_sampler import fill_empty, read_blocks


@MODELS.register_module()
class CellSampler(PriorSampler):
    """Give each training image the unit vector of its cell; draw cells by how often they come.

    A GAN with ``per_image=True`` and this sampler is conditioned on cells as on classes: G_emb and
    D_emb hold their embeddings. Cells are found once, by K-means of the priors of unflipped images,
    and both flip views of an image share its cell: Logo-GAN (Sage et al. 2018, arXiv 1712.04407).
    They are never mixed.

    Args:
        prior_dim (int): K, cells; a GAN hands its own over.
        scale (float): Length of the vectors. Defaults to 1.0.
        seed (int): Seed of K-means. Defaults to 0.

    Raises:
        ValueError: ``prior_dim`` is below 1, or ``scale`` is not positive.
    """

    labels: Tensor  # (N, V): the cell of each view of each image; V is 1 where views share it
    counts: Tensor  # (K,)

    def __init__(self, prior_dim: int, scale: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        name = type(self).__name__
        if prior_dim < 1:
            raise ValueError(f'prior_dim of {name} is {prior_dim}; it must be 1 or more')
        if not scale > 0:
            raise ValueError(f'scale of {name} is {scale}; it must be positive')
        self.prior_dim, self.scale, self.seed = prior_dim, scale, seed
        self.register_buffer('labels', torch.empty(0, dtype=torch.long))
        self.register_buffer('counts', torch.empty(0, dtype=torch.long))

    def check_count(self, num_images: int) -> None:
        """Raise ValueError if there are fewer images than cells."""
        if num_images < self.prior_dim:
            raise ValueError(
                f'{type(self).__name__} cannot find {self.prior_dim} cells of {num_images} images; '
                f'set model.prior_dim to {num_images // 10 or 1} or so'
            )

    def check(self, bank: PriorBank) -> None:
        """Check that there are as many priors as cells."""
        self.check_count(bank.num_images)

    def fit(self, bank: PriorBank) -> None:
        """Cluster the raw priors of the bank by the best of ten runs of K-means."""
        from sklearn.cluster import KMeans  # here, since sampling does not need it

        self.check(bank)
        priors = np.concatenate(list(read_blocks(bank, np.arange(bank.num_images))))
        kmeans = KMeans(self.prior_dim, n_init=10, random_state=self.seed).fit(priors)
        self.set_labels(fill_empty(kmeans.labels_, self.prior_dim, self.seed)[:, None])

    def set_labels(self, labels: np.ndarray) -> None:
        """Set the cells (N, V) of all images, in the order of the training set."""
        counts = np.bincount(labels.ravel(), minlength=self.prior_dim)
        self.set_buffer('labels', torch.from_numpy(labels.astype(np.int64)))
        self.set_buffer('counts', torch.from_numpy(counts))

    def find_priors(self, rows: Tensor, flipped: Sequence[bool] | None = None) -> Tensor:
        """Find the priors (N, K) of rows (N,) of the training set, mirrored or not.

        Raises:
            RuntimeError: The cells are not known yet.
            ValueError: There is no such row.
        """
        self.check_fitted()
        num, num_views = self.labels.shape
        if int(rows.max()) >= num:
            raise ValueError(
                f'{type(self).__name__} knows {num} training images, but image {int(rows.max())} '
                'came; train on the images that it was made for'
            )
        views = torch.as_tensor(flipped).long() if num_views > 1 else torch.zeros_like(rows)
        device = self.labels.device
        return self._one_hot(self.labels[rows.to(device), views.to(device)])

    def draw(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw the vectors (num, K) of cells."""
        weights = self.counts.double().cpu()
        cells = torch.multinomial(weights, num, replacement=True, generator=generator)
        return self._one_hot(cells.to(self.labels.device))

    def _one_hot(self, cells: Tensor) -> Tensor:
        return functional.one_hot(cells, self.prior_dim).float() * self.scale
