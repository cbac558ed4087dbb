"""Faster convolutions of the same values: fused with resampling, channels last in memory."""

import torch
from mmagic.models.editors.biggan.biggan_modules import (
    BigGANDiscResBlock,
    BigGANGenResBlock,
    SelfAttentionBlock,
)
from mmagic.models.editors.biggan.biggan_snmodule import SNConv2d
from mmagic.models.editors.sagan.sagan_modules import (
    SNGANDiscHeadResBlock,
    SNGANDiscResBlock,
    SNGANGenResBlock,
)
from mmagic.models.editors.stylegan2 import StyleGAN2Discriminator
from torch import Tensor, nn
from torch.nn import functional

from .fastgan_generator import FastGANBlock

# Of each block: the names of what resamples, and of the convolution beside that of the shortcut.
BLOCKS: dict[type[nn.Module], tuple[str, str]] = {
    SNGANGenResBlock: ('upsample', 'conv_1'),
    BigGANGenResBlock: ('upsample_layer', 'conv1'),
    FastGANBlock: ('upsample', 'layer_1'),
    SNGANDiscResBlock: ('downsample', 'conv_2'),
    SNGANDiscHeadResBlock: ('downsample', 'conv_2'),
    BigGANDiscResBlock: ('downsample', 'conv2'),
}
# Of each module: the parts whose feature maps mmagic reads as rows of memory, by Tensor.view
# (biggan_modules.py:369, stylegan2_discriminator.py:229).
READ_AS_ROWS: dict[type[nn.Module], tuple[str, ...]] = {
    SelfAttentionBlock: ('theta', 'phi', 'g'),
    StyleGAN2Discriminator: ('final_conv',),
}


def fuse_convolutions(network: nn.Module) -> None:
    """Fuse resampling into the convolutions of a network's residual blocks.

    Nearest-neighbor enlarging by 2 and a 3x3 convolution are one transposed 4x4 convolution; a 3x3
    convolution and the mean over 2x2 pixels are one 4x4 convolution of stride 2, as
    ``fused_scale`` in the code of Karras et al. 2018
    (https://github.com/tkarras/progressive_growing_of_gans).
    A 1x1 convolution moves to the side of fewer pixels. Values are the same up to rounding, the
    parameters and their names exactly. Blocks that resample in another way stay as they are.
    """
    for block in network.modules():
        kind = next((kind for kind in BLOCKS if isinstance(block, kind)), None)
        if kind is None:
            continue
        resampling, name = BLOCKS[kind]
        fused = FUSED.get(_describe(getattr(block, resampling, None)), {})
        convs = [getattr(block, part).conv for part in (name, 'shortcut') if hasattr(block, part)]
        if all(type(conv) in fused and _is_plain(conv) for conv in convs):
            setattr(block, resampling, nn.Identity())
            for conv in convs:  # parameters and the hooks of spectral norm stay
                conv.__class__ = fused[type(conv)]


def keep_channels_last(network: nn.Module) -> None:
    """Keep a network's feature maps channels last in memory, from its first convolution on.

    Weights stay as they are, and with them checkpoints, optimizers and spectral norms.
    StyleGAN2's modulated convolutions take another layout.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(_order_channels_last)
        for kind, names in READ_AS_ROWS.items():
            for name in names if isinstance(module, kind) else ():
                getattr(module, name).register_forward_hook(_order_channels_first)


def _order_channels_last(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return args[0].contiguous(memory_format=torch.channels_last), *args[1:]


def _order_channels_first(module: nn.Module, args: object, output: Tensor) -> Tensor:
    return output.contiguous()


class _Fused(nn.Conv2d):
    def read_weight(self) -> Tensor:
        return self.sn_weight() if isinstance(self, SNConv2d) else self.weight


class EnlargingConv2d(_Fused):
    """Enlarge (N, C, H, W) to twice the height and width, then convolve."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (N, C, H, W) into (N, K, 2H, 2W)."""
        weight = self.read_weight()
        if self.kernel_size == (1, 1):
            out = functional.conv2d(input, weight, self.bias)
            return functional.interpolate(out, scale_factor=2)
        kernel = _sum_neighbors(weight.flip(2, 3)).transpose(0, 1)
        return functional.conv_transpose2d(input, kernel, self.bias, stride=2, padding=1)


class ShrinkingConv2d(_Fused):
    """Convolve (N, C, H, W), then take the means over 2x2 pixels."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (N, C, H, W) into (N, K, H // 2, W // 2)."""
        weight = self.read_weight()
        if self.kernel_size == (1, 1):
            return functional.conv2d(functional.avg_pool2d(input, 2), weight, self.bias)
        kernel = _sum_neighbors(weight) / 4
        return functional.conv2d(input, kernel, self.bias, stride=2, padding=1)


class EnlargingSNConv2d(EnlargingConv2d, SNConv2d):
    """The same, with the spectral norm of mmagic's BigGAN."""


class ShrinkingSNConv2d(ShrinkingConv2d, SNConv2d):
    """The same, with the spectral norm of mmagic's BigGAN."""


FUSED: dict[object, dict[type[nn.Module], type[nn.Module]]] = {
    'nearest x2': {nn.Conv2d: EnlargingConv2d, SNConv2d: EnlargingSNConv2d},
    'mean of 2x2': {nn.Conv2d: ShrinkingConv2d, SNConv2d: ShrinkingSNConv2d},
}


def _sum_neighbors(weight: Tensor) -> Tensor:
    """Sum kernels (K, C, 3, 3) shifted by 0 and 1 in both directions, (K, C, 4, 4)."""
    rows = functional.pad(weight, (0, 0, 1, 0)) + functional.pad(weight, (0, 0, 0, 1))
    return functional.pad(rows, (1, 0)) + functional.pad(rows, (0, 1))


def _describe(resampling: nn.Module | None) -> str:
    if isinstance(resampling, nn.Upsample):
        is_double = resampling.scale_factor in (2, (2, 2)) and resampling.mode == 'nearest'
        return 'nearest x2' if is_double else ''
    if isinstance(resampling, nn.AvgPool2d):
        sizes = (resampling.kernel_size, resampling.stride, resampling.padding)
        return 'mean of 2x2' if sizes in ((2, 2, 0), ((2, 2), (2, 2), (0, 0))) else ''
    return ''


def _is_plain(conv: nn.Conv2d) -> bool:
    """Tell a 1x1 or 3x3 convolution of stride 1 that keeps the size."""
    sizes = {(1, 1): (0, 0), (3, 3): (1, 1)}
    return (
        sizes.get(conv.kernel_size) == conv.padding  # type: ignore[arg-type]
        and (conv.stride, conv.dilation, conv.groups) == ((1, 1), (1, 1), 1)
        and conv.padding_mode == 'zeros'
    )
