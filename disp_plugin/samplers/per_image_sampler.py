"""Mixtures of two training images' embeddings, for the baseline with one for each image."""

import torch
from mmagic.registry import MODELS
from torch import Tensor

from disp_plugin.priors import PriorBank

from .base_sampler import PriorSampler
from .empirical_prior_sampler import draw_beta


@MODELS.register_module()
class PerImageSampler(PriorSampler):
    r"""Draw mixtures of two of the per-image baseline's priors.

    .. math:: p = s (\lambda e_i + (1 - \lambda) e_j), \quad \lambda \sim \mathrm{Beta}(a, a)

    with i and j uniform and e_i the i-th unit vector. The number of images is all that it needs:
    there is no bank and nothing to fit. A GAN with ``per_image=True`` hands ``num_images`` and
    ``scale`` over.

    Args:
        num_images (int): N, training images.
        scale (float): s, length of the prior of a training image. Defaults to 1.0.
        alpha (float): a of the Beta law. Defaults to 1.0, the uniform law.

    Raises:
        ValueError: ``num_images`` is below 1, or ``scale`` or ``alpha`` is not positive.
    """

    num_rows: Tensor

    def __init__(self, num_images: int, scale: float = 1.0, alpha: float = 1.0) -> None:
        super().__init__()
        if num_images < 1:
            raise ValueError(f'num_images of PerImageSampler is {num_images}; it must be 1 or more')
        if not scale > 0:
            raise ValueError(f'scale of PerImageSampler is {scale}; it must be positive')
        if not alpha > 0:
            raise ValueError(f'alpha of PerImageSampler is {alpha}; Beta(a, a) needs it positive')
        self.scale = scale
        self.num_images = num_images
        self.alpha = alpha
        # tells the device that priors are made on, and is in the checkpoint
        self.register_buffer('num_rows', torch.tensor([num_images]))

    def fit(self, bank: PriorBank) -> None:
        """Do nothing: no bank is needed."""

    def forget(self) -> None:
        """Do nothing: nothing was fitted."""

    def draw(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw (num, N) rows with one or two entries that sum to ``scale``."""
        rows = torch.randint(self.num_images, (num, 2), generator=generator)
        weight = draw_beta(self.alpha, num, generator)
        weights = self.scale * torch.stack([weight, 1 - weight], dim=1)
        prior = torch.zeros(num, self.num_images).scatter_add_(1, rows, weights)
        return prior.to(self.num_rows.device)
