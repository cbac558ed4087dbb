"""Parts of a network that compute in float32 whatever autocast says."""

import torch
from torch import Tensor, nn

from disp_plugin.upstream.operators import without_autocast

__all__ = ['Float32Sequential', 'find_autocast', 'widen', 'without_autocast']


def widen(tensor: Tensor) -> Tensor:
    """Return float32 for float16 and bfloat16, any other tensor as it is."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def find_autocast(device: str) -> torch.dtype | None:
    """Return the type of autocast on a type of device; None where there is no autocast."""
    is_on = device != 'meta' and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if is_on else None


class Float32Sequential(nn.Sequential):
    """A sequence of layers that leaves autocast and computes in float32."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layers, one after the other."""
        with without_autocast(input.device.type):
            return super().forward(widen(input))
