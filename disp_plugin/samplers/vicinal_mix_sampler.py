"""Mixtures of two training priors: the paper's sampler for few images."""

import numpy as np
import torch
from mmagic.registry import MODELS
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from disp_plugin.priors import PriorBank

from .empirical_prior_sampler import EmpiricalPriorSampler


@MODELS.register_module()
class VicinalMixSampler(EmpiricalPriorSampler):
    r"""Draw from the vicinal mix, equations (4) and (5) of the method.

    .. math:: p = \lambda p_i + (1 - \lambda) p_j, \quad \lambda \sim \mathrm{Beta}(a, a)

    with i uniform, and j uniform or among the nearest neighbors of i.

    Args:
        alpha (float): a of the Beta law; 1 is the uniform law. Defaults to 1.0 (the law is not
            stated in the paper).
        num_neighbors (int, optional): Mix with one of so many nearest other priors (Euclidean).
            Defaults to None: with any.
        max_priors (int): At most so many random rows of the bank are kept. Defaults to 50000.
        seed (int): Which rows are kept. Defaults to 0.

    Raises:
        ValueError: ``alpha`` is not positive or ``num_neighbors`` is below 1.
    """

    neighbors: Tensor

    def __init__(
        self,
        alpha: float = 1.0,
        num_neighbors: int | None = None,
        max_priors: int = 50_000,
        seed: int = 0,
    ) -> None:
        super().__init__(max_priors, seed)
        if alpha <= 0:
            raise ValueError(f'alpha of VicinalMixSampler is {alpha}; Beta(a, a) needs it positive')
        if num_neighbors is not None and num_neighbors < 1:
            raise ValueError(f'num_neighbors is {num_neighbors}; it must be 1 or more, or None')
        self.alpha = alpha
        self.num_neighbors = num_neighbors
        if num_neighbors is not None:
            self.register_buffer('neighbors', torch.empty(0, dtype=torch.long))

    def fit(self, bank: PriorBank) -> None:
        """Keep the bank's priors and find their neighbors where those are asked for.

        Args:
            bank (PriorBank): The bank; the unflipped view of its images is used.

        Raises:
            ValueError: The bank has too few images for ``num_neighbors``.
        """
        super().fit(bank)
        if self.num_neighbors is None:
            return
        if len(self.priors) <= self.num_neighbors:
            raise ValueError(
                f'num_neighbors is {self.num_neighbors}, but the bank holds only '
                f'{len(self.priors)} priors; it must be at most {len(self.priors) - 1}'
            )
        points = self.priors.float().cpu().numpy()
        nearest = NearestNeighbors(n_neighbors=self.num_neighbors).fit(points)
        self.set_buffer('neighbors', torch.from_numpy(nearest.kneighbors(return_distance=False)))

    def draw(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw mixtures.

        Args:
            num (int): How many.
            generator (torch.Generator | None): Source of randomness on the CPU.

        Returns:
            Tensor: (num, D).
        """
        first = torch.randint(len(self.priors), (num,), generator=generator)
        if self.num_neighbors is None:
            second = torch.randint(len(self.priors), (num,), generator=generator)
        else:
            column = torch.randint(self.num_neighbors, (num,), generator=generator)
            second = self.neighbors[first, column]
        weight = self._draw_weights(num, generator).to(self.priors.device)
        device = self.priors.device
        first, second = first.to(device), second.to(device)
        return torch.lerp(self.priors[second].float(), self.priors[first].float(), weight[:, None])

    def _draw_weights(self, num: int, generator: torch.Generator | None) -> Tensor:
        # torch's Beta takes no generator, so NumPy's is seeded from it.
        seed = int(torch.randint(2**62, (), generator=generator))
        return torch.from_numpy(
            np.random.default_rng(seed).beta(self.alpha, self.alpha, num)
        ).float()
