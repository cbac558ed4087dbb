"""What every sampler of priors does."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from disp_plugin.models.fitted_module import FittedModule

if TYPE_CHECKING:
    from disp_plugin.priors import PriorBank


class PriorSampler(FittedModule):
    """Fit to a bank once, then draw new priors from what was fitted.

    All that sampling needs is in buffers, so a checkpoint suffices. A subclass implements
    :meth:`fit` and :meth:`draw`.
    """

    def fit(self, bank: 'PriorBank') -> None:
        """Fit to the priors of the training images.

        Args:
            bank (PriorBank): The bank; its unflipped view is used.

        Raises:
            ValueError: The bank cannot be fitted.
        """
        raise NotImplementedError

    def check(self, bank: 'PriorBank') -> None:
        """See that :meth:`fit` could be asked for, without doing its work.

        Args:
            bank (PriorBank): The bank.

        Raises:
            ValueError: The bank cannot be fitted.
        """

    def draw(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw priors; :meth:`sample` has seen to it that the sampler is fitted.

        Args:
            num (int): How many.
            generator (torch.Generator | None): Source of randomness on the CPU.

        Returns:
            Tensor: (num, D) raw priors.
        """
        raise NotImplementedError

    @torch.no_grad()
    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw priors.

        Args:
            num (int): How many.
            generator (torch.Generator, optional): Source of randomness, on the CPU, so that a seed
                gives the same priors on every device. Defaults to None, torch's global one.

        Returns:
            Tensor: (num, D) raw priors, float32, on the sampler's device.

        Raises:
            RuntimeError: The sampler is not fitted.
        """
        if not self.is_fitted:
            raise RuntimeError(
                f'{type(self).__name__} is not fitted: PriorSamplerHook fits it to the bank before '
                'training and a checkpoint carries it; or call its fit(PriorBank.open(...))'
            )
        return self.draw(num, generator).float()
