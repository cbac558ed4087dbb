"""New conditions for the baseline of one embedding for each training image."""

import numpy as np
import torch
from mmagic.registry import MODELS
from torch import Tensor

from .base_sampler import PriorSampler


@MODELS.register_module()
class PerImageSampler(PriorSampler):
    r"""Mix the embeddings of two random training images; no bank is needed.

    The prior of image i is the unit vector e_i, so a mixture :math:`\lambda e_i + (1 - \lambda)
    e_j`, :math:`\lambda \sim \mathrm{Beta}(a, a)`, mixes the two embeddings alike.

    Args:
        num_images (int): Number of training images, D. The GAN gives it.
        scale (float): Length of a training image's prior. The GAN gives it. Defaults to 1.0.
        alpha (float): a of the Beta law; 1 is the uniform law. Defaults to 1.0.

    Raises:
        ValueError: ``alpha`` is not positive.
    """

    def __init__(self, num_images: int, scale: float = 1.0, alpha: float = 1.0) -> None:
        super().__init__()
        if alpha <= 0:
            raise ValueError(f'alpha of PerImageSampler is {alpha}; Beta(a, a) needs it positive')
        self.num_images, self.scale, self.alpha = num_images, scale, alpha

    def draw(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw (num, D) mixtures of two rows."""
        rows = torch.randint(self.num_images, (2, num), generator=generator)
        # torch's Beta takes no generator, so NumPy's is seeded from it
        seed = int(torch.randint(2**62, (), generator=generator))
        weight = np.random.default_rng(seed).beta(self.alpha, self.alpha, num)
        weights = torch.from_numpy(np.stack([weight, 1 - weight])).float() * self.scale
        mixed = torch.zeros(num, self.num_images)
        for row, part in zip(rows, weights, strict=True):
            mixed.scatter_add_(1, row[:, None], part[:, None])
        return mixed
