"""A trained network that is looked at and not changed."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ['frozen']


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Freeze a network and switch it to evaluation, and leave it as it was.

    Args:
        network (nn.Module): The network.
    """
    modes = {module: module.training for module in network.modules()}
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.eval().requires_grad_(False)
    try:
        yield
    finally:
        network.train(modes[network])  # which does more than set the mode, in a StyleGAN2
        for module, mode in modes.items():
            module.training = mode
        for parameter in trained:
            parameter.requires_grad_(True)
