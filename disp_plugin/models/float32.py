"""Parts of a network that compute in float32 whatever autocast says."""

import torch
from torch import Tensor, nn

from disp_plugin.upstream.operators import without_autocast

__all__ = ['Float32Sequential', 'widen', 'without_autocast']


def widen(tensor: Tensor) -> Tensor:
    """Return float32 for float16 and bfloat16, any other tensor as it is."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


class Float32Sequential(nn.Sequential):
    """A sequence of layers that leaves autocast and computes in float32."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layers, one after the other."""
        with without_autocast(input.device.type):
            return super().forward(widen(input))
