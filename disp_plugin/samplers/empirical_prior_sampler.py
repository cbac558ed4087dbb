"""Priors of training images, or mixtures of two: the paper's sampler for few images."""

import numpy as np
import torch
from mmagic.registry import MODELS
from torch import Tensor

from disp_plugin.priors import PriorBank, find_neighbors

from .base_sampler import PriorSampler


def choose_rows(num_rows: int, max_rows: int, seed: int) -> np.ndarray:
    """Choose at most ``max_rows`` rows of a bank at random, in the order in which they lie."""
    if num_rows <= max_rows:
        return np.arange(num_rows)
    return np.sort(np.random.default_rng(seed).choice(num_rows, max_rows, replace=False))


def draw_beta(alpha: float, num: int, generator: torch.Generator | None) -> Tensor:
    """Draw (num,) float32 numbers from Beta(alpha, alpha)."""
    # torch's Beta takes no generator: NumPy's is seeded from it
    seed = int(torch.randint(2**62, (), generator=generator))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, num)).float()


@MODELS.register_module()
class EmpiricalPriorSampler(PriorSampler):
    """Draw uniformly from the priors of the training images.

    Args:
        max_priors (int): At most so many random rows of the bank are kept, which bounds the size of
            checkpoints. Defaults to 50000.
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
        """Keep the bank's priors, or a random part of them."""
        rows = choose_rows(bank.num_images, self.max_priors, self.seed)
        self.set_buffer('priors', torch.from_numpy(bank.take(rows)))

    def draw(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw rows uniformly, with repetition."""
        rows = torch.randint(len(self.priors), (num,), generator=generator)
        return self.priors[rows.to(self.priors.device)]


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
        if not alpha > 0:
            raise ValueError(f'alpha of VicinalMixSampler is {alpha}; Beta(a, a) needs it positive')
        if num_neighbors is not None and num_neighbors < 1:
            raise ValueError(f'num_neighbors is {num_neighbors}; it must be 1 or more, or None')
        self.alpha = alpha
        self.num_neighbors = num_neighbors
        if num_neighbors is not None:
            self.register_buffer('neighbors', torch.empty(0, dtype=torch.long))

    def check(self, bank: PriorBank) -> None:
        """Check that there are more priors than ``num_neighbors``."""
        num_kept = min(bank.num_images, self.max_priors)
        if self.num_neighbors is not None and num_kept <= self.num_neighbors:
            raise ValueError(
                f'num_neighbors is {self.num_neighbors}, but the bank holds only {num_kept} '
                f'priors; it must be at most {num_kept - 1}'
            )

    def fit(self, bank: PriorBank) -> None:
        """Keep the bank's priors, and find their neighbors where those are asked for."""
        self.check(bank)
        super().fit(bank)
        if self.num_neighbors is not None:
            self.set_buffer('neighbors', find_neighbors(self.priors.double(), self.num_neighbors))

    def draw(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw mixtures."""
        device = self.priors.device
        first = torch.randint(len(self.priors), (num,), generator=generator).to(device)
        bound = self.num_neighbors or len(self.priors)
        second = torch.randint(bound, (num,), generator=generator).to(device)
        if self.num_neighbors is not None:
            second = self.neighbors[first, second]
        weight = draw_beta(self.alpha, num, generator).to(device)
        return torch.lerp(self.priors[second].float(), self.priors[first].float(), weight[:, None])
