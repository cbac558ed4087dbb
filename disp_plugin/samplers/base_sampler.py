"""What every sampler of priors does."""

from typing import ClassVar

import torch
from torch import Tensor

from disp_plugin.models.prior_normalizer import FittedModule
from disp_plugin.priors import PriorBank


class PriorSampler(FittedModule):
    """Fit to a bank once, then draw new priors from what was fitted.

    A subclass implements :meth:`fit` and :meth:`draw`. All that sampling needs is in buffers: a
    checkpoint suffices. ``is_fitted`` tells whether they are filled, ``forget()`` empties them.

    Attributes:
        fits_late (bool): Whether the fit is slow. ``PriorSamplerHook`` then waits with it until
            something is first sampled or saved: a run that fails in its first iterations does not
            wait for it in vain.
        needs_bank (bool): Whether it is fitted to a bank; else :meth:`fit` is never called.
        hook (str): The hook that fits it.
    """

    fits_late: ClassVar[bool] = False
    needs_bank: ClassVar[bool] = True
    hook: ClassVar[str] = 'PriorSamplerHook'

    def fit(self, bank: PriorBank) -> None:
        """Fit to the priors of the training images, unflipped.

        Raises:
            ValueError: The bank cannot be fitted.
        """
        raise NotImplementedError

    def check(self, bank: PriorBank) -> None:
        """Check quickly that :meth:`fit` can work.

        Raises:
            ValueError: The bank cannot be fitted.
        """

    def draw(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw (num, D) raw priors; :meth:`sample` has checked that the sampler is fitted."""
        raise NotImplementedError

    @torch.no_grad()
    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw (num, D) raw priors, float32, on the sampler's device.

        The generator is on the CPU (None: torch's global one): a seed gives the same priors on
        every device.

        Raises:
            RuntimeError: The sampler is not fitted.
        """
        self.check_fitted()
        return self.draw(num, generator).float()

    def check_fitted(self) -> None:
        """Raise RuntimeError if the sampler is not fitted."""
        if not self.is_fitted:
            raise RuntimeError(
                f'{type(self).__name__} is not fitted: PriorSamplerHook fits it to the bank before '
                'training and a checkpoint carries it; or call its fit(PriorBank.open(...))'
            )
