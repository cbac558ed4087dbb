"""Priors of training images, drawn at random."""

import torch
from mmagic.registry import MODELS
from torch import Tensor

from disp_plugin.priors import PriorBank

from .base_sampler import PriorSampler
from .fit_space import choose_rows


@MODELS.register_module()
class EmpiricalPriorSampler(PriorSampler):
    """Draw uniformly from the priors of the training images.

    Args:
        max_priors (int): At most so many random rows of the bank are kept, so that checkpoints stay
            small. Defaults to 50000.
        seed (int): Which rows are kept. Defaults to 0.

    Raises:
        ValueError: ``max_priors`` is below 1.
    """

    priors: Tensor

    def __init__(self, max_priors: int = 50_000, seed: int = 0) -> None:
        super().__init__()
        if max_priors < 1:
            raise ValueError(f'max_priors is {max_priors}; it must be 1 or more')
        self.max_priors = max_priors
        self.seed = seed
        self.register_buffer('priors', torch.empty(0))

    def fit(self, bank: PriorBank) -> None:
        """Keep the bank's priors, or a random part of them.

        Args:
            bank (PriorBank): The bank; the unflipped view of its images is used.
        """
        rows = choose_rows(bank.num_images, self.max_priors, self.seed)
        self.set_buffer('priors', torch.from_numpy(bank.take(rows)))

    def draw(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw rows uniformly, with repetition.

        Args:
            num (int): How many.
            generator (torch.Generator | None): Source of randomness on the CPU.

        Returns:
            Tensor: (num, D).
        """
        rows = torch.randint(len(self.priors), (num,), generator=generator)
        return self.priors[rows.to(self.priors.device)]
