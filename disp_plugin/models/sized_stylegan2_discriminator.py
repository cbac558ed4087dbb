"""mmagic's StyleGAN2 discriminator at any width."""

from typing import Any

from mmagic.models.editors.stylegan1 import EqualLinearActModule
from mmagic.models.editors.stylegan2 import ADAStyleGAN2Discriminator
from mmagic.models.editors.stylegan2.stylegan2_modules import ConvDownLayer, ResBlock
from mmagic.registry import MODELS
from torch import Tensor, nn

from disp_plugin.distributed import own_random_numbers

from .check_scale import check_stylegan2_scale, stylegan2_width


@MODELS.register_module()
class SizedStyleGAN2Discriminator(ADAStyleGAN2Discriminator):
    """StyleGAN2's discriminator, plain or with adaptive augmentation, at a width of choice.

    By default this is mmagic's own network, whose width is fixed at 512 up to 32 px; at another
    width the layers are mmagic's own with fewer channels.

    Args:
        in_size (int): Height and width of the image in pixels: a power of two from 8 to 1024.
        channel_base (int): Channels of a feature map times its size, at most. Defaults to 32768.
        channel_max (int): Channels of a feature map, at most. Defaults to 512.
        img_channels (int): Channels of the image. Defaults to 3.
        blur_kernel (tuple[int]): As in mmagic. Defaults to (1, 3, 3, 1).
        data_aug (dict, optional): Adaptive augmentation, as mmagic's
            ``ADAStyleGAN2Discriminator`` takes it. Defaults to None.
        **kwargs: Further arguments of mmagic's ``StyleGAN2Discriminator``.

    Raises:
        ValueError: ``in_size`` is none that StyleGAN2 has, or the width is none.
    """

    def __init__(
        self,
        in_size: int,
        channel_base: int = 32768,
        channel_max: int = 512,
        img_channels: int = 3,
        blur_kernel: tuple[int, ...] = (1, 3, 3, 1),
        data_aug: dict | None = None,
        **kwargs: Any,
    ) -> None:
        check_stylegan2_scale(in_size, channel_base, channel_max, type(self).__name__)
        kernel = list(blur_kernel)
        super().__init__(
            in_size, img_channels=img_channels, blur_kernel=kernel, data_aug=data_aug, **kwargs
        )
        if (channel_base, channel_max) != (32768, 512):
            self._narrow(channel_base, channel_max, img_channels, kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Score images, each process with augmentations of its own.

        Args:
            x (Tensor): (N, 3, H, W) images in [-1, 1]; N at most 4 or a multiple of 4.

        Returns:
            Tensor: Scores, (N, 1).
        """
        if not self.with_ada:
            return super().forward(x)
        with own_random_numbers(x.device):
            return super().forward(x)

    def _narrow(
        self, channel_base: int, channel_max: int, img_channels: int, blur_kernel: list[int]
    ) -> None:
        host: Any = self
        first, *blocks = host.convs
        size = 2**self.log_size
        widths = [stylegan2_width(first[0].out_channels, size, channel_base, channel_max)]
        layers: list[nn.Module] = [
            ConvDownLayer(img_channels, widths[0], 1, fp16_enabled=first.fp16_enabled)
        ]
        for block in blocks:
            size //= 2
            width = stylegan2_width(block.skip[1].out_channels, size, channel_base, channel_max)
            options = dict(
                fp16_enabled=block.fp16_enabled, convert_input_fp32=block.convert_input_fp32
            )
            layers.append(ResBlock(widths[-1], width, blur_kernel, **options))
            widths.append(width)
        self.convs = nn.Sequential(*layers)
        width = widths[-1]
        self.final_conv = ConvDownLayer(
            width + 1, width, 3, fp16_enabled=host.final_conv.fp16_enabled
        )
        self.final_linear = nn.Sequential(
            EqualLinearActModule(width * 4 * 4, width, act_cfg=dict(type='fused_bias')),
            EqualLinearActModule(width, 1),
        )
