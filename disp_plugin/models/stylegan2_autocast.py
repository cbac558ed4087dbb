"""mmagic's StyleGAN2 layers, in the type of autocast in place of float16.

mmagic's own compute in float16 wherever ``num_fp16_scales`` says so, in sampling and in penalties
too, and then another function of the same weights: they scale a style before it is mapped
(mmagic/models/editors/stylegan2/stylegan2_modules.py:241). These compute the function of float32 in
the type of autocast, and without autocast are mmagic's own in float32.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from mmagic.models.editors.stylegan2.stylegan2_modules import (
    ConvDownLayer,
    ModMBStddevLayer,
    ModulatedConv2d,
    ModulatedStyleConv,
    ModulatedToRGB,
    ResBlock,
)
from torch import Tensor, nn
from torch.nn import functional

from .float32 import widen, without_autocast

__all__ = ['NUM_SCALES', 'find_autocast', 'follow_autocast', 'followed']

NUM_SCALES = 4
"""num_fp16_res of the official StyleGAN2-ADA, https://github.com/NVlabs/stylegan2-ada-pytorch."""

_CLAMP = 256.0

_followed: ContextVar[torch.dtype | None] = ContextVar('type of autocast', default=None)


@contextmanager
def followed(device: str) -> Iterator[None]:
    """Keep the type of autocast for the layers of a network, which leaves autocast between them."""
    token = _followed.set(find_autocast(device))
    try:
        yield
    finally:
        _followed.reset(token)


def find_autocast(device: str) -> torch.dtype | None:
    """Return the type of autocast on a type of device; None where there is no autocast."""
    is_on = device != 'meta' and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if is_on else None


class _Follower:
    """What mmagic's layers ask themselves, answered by autocast."""

    @property
    def fp16_enabled(self) -> bool:
        """bool: Whether to compute in another type than float32."""
        return _followed.get() is not None

    @property
    def conv_clamp(self) -> float:
        """float: Bound of features; bfloat16 has the range of float32 and needs none."""
        return _CLAMP if _followed.get() == torch.float16 else float('inf')


class _ConvDownLayer(_Follower, ConvDownLayer):
    pass


class _ModulatedStyleConv(_Follower, ModulatedStyleConv):
    pass


class _ModulatedToRGB(_Follower, ModulatedToRGB):
    pass


class _ResBlock(_Follower, ResBlock):
    pass


class _ModulatedConv2d(_Follower, ModulatedConv2d):
    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Convolve features (N, C, H, W), scaled by what a style (N, S) is mapped to.

        Under autocast features are scaled before and after a convolution with weights that all
        images share, as in the official code (training/networks.py, ``modulated_conv2d``).
        """
        dtype = _followed.get()
        if dtype is None:
            return super().forward(x, style)
        with without_autocast(x.device.type):
            weight = self.weight[0]
            scale = self.style_modulation(widen(style)) + self.style_bias
            gain = None
            if self.demodulate:
                # both factors cancel in the gain; they keep sums in the range of float16
                largest = weight.detach().abs().amax((1, 2, 3), keepdim=True)
                weight = weight / (largest * weight[0].numel() ** 0.5)
                scale = scale / scale.detach().abs().amax(1, keepdim=True)
                power = scale.square() @ weight.square().sum((2, 3)).T
                gain = torch.rsqrt(power + self.eps)[:, :, None, None].to(dtype)
            x, weight = x.to(dtype) * scale[:, :, None, None].to(dtype), weight.to(dtype)
            if self.upsample:
                x = self.blur(functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
            elif self.downsample:
                x = functional.conv2d(self.blur(x), weight, stride=2)
            else:
                x = functional.conv2d(x, weight, padding=self.padding)
            return x if gain is None else x * gain


class _ModMBStddevLayer(ModMBStddevLayer):
    def forward(self, x: Tensor) -> Tensor:
        """Append deviations within groups of images to features (N, C, H, W), in float32."""
        return super().forward(widen(x))


_LAYERS: dict[type, type] = {
    ConvDownLayer: _ConvDownLayer,
    ModMBStddevLayer: _ModMBStddevLayer,
    ModulatedConv2d: _ModulatedConv2d,
    ModulatedStyleConv: _ModulatedStyleConv,
    ModulatedToRGB: _ModulatedToRGB,
    ResBlock: _ResBlock,
}


def follow_autocast(network: nn.Module) -> None:
    """Let the layers that mmagic built for float16 compute in the type of autocast, in place.

    The network's forward must be :func:`followed`. The other layers stay in float32.
    """
    for module in network.modules():
        if getattr(module, 'fp16_enabled', True):
            module.__class__ = _LAYERS.get(type(module), type(module))
