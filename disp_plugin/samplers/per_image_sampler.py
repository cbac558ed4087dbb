"""Mixtures of two training images' embeddings, for the baseline with one for each image."""

from typing import ClassVar

import numpy as np
import torch
from mmagic.registry import MODELS
from torch import Tensor

from .cell_sampler import CellSampler
from .empirical_prior_sampler import draw_beta


@MODELS.register_module()
class PerImageSampler(CellSampler):
    r"""Give each training image a cell of its own; draw mixtures of two.

    .. math:: p = s (\lambda e_i + (1 - \lambda) e_j), \quad \lambda \sim \mathrm{Beta}(a, a)

    with i and j uniform and e_i the i-th unit vector. The number of images is all that it needs:
    there is no bank and nothing to fit.

    Args:
        prior_dim (int): N, training images; a GAN hands its own over.
        scale (float): s, length of the prior of a training image. Defaults to 1.0.
        alpha (float): a of the Beta law. Defaults to 1.0, the uniform law.

    Raises:
        ValueError: ``prior_dim`` is below 1, or ``scale`` or ``alpha`` is not positive.
    """

    needs_bank: ClassVar[bool] = False

    def __init__(self, prior_dim: int, scale: float = 1.0, alpha: float = 1.0) -> None:
        super().__init__(prior_dim, scale)
        if not alpha > 0:
            raise ValueError(f'alpha of PerImageSampler is {alpha}; Beta(a, a) needs it positive')
        self.alpha = alpha
        self.set_labels(np.arange(prior_dim)[:, None])

    def fit(self, bank: object) -> None:
        """Do nothing: no bank is needed."""

    def forget(self) -> None:
        """Do nothing: nothing was fitted."""

    def draw(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw (num, N) rows with one or two entries that sum to ``scale``."""
        rows = torch.randint(self.prior_dim, (num, 2), generator=generator)
        weight = draw_beta(self.alpha, num, generator)
        weights = self.scale * torch.stack([weight, 1 - weight], dim=1)
        prior = torch.zeros(num, self.prior_dim).scatter_add_(1, rows, weights)
        return prior.to(self.labels.device)
