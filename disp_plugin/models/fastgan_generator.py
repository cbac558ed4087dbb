"""FastGAN's generator, 64 to 1024 px on one small GPU, with a prior in its batch norms."""

from typing import cast

import torch
from mmagic.registry import MODELS
from mmengine.dist import get_rank, get_world_size
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import spectral_norm

from .float32 import widen
from .generators import Noise, check_modulation, draw_noise
from .image_size import check_scale
from .prior_modules import PriorConditionBN, PriorProjection, check_prior, self_modulate

# Channels by the size of the feature map, in base_channels (github.com/odegeasslbc/FastGAN-pytorch,
# models.py, ``nfc_multi``).
CHANNELS = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1, 256: 1 / 2, 512: 1 / 4, 1024: 1 / 8}
# Sizes whose block convolves twice and injects noise, and the size that excites each larger one.
DOUBLE = (8, 32, 128, 512)
EXCITED_BY = {64: 4, 128: 8, 256: 16, 512: 32}


class FastGANLayer(nn.Module):
    """A convolution, noise if there is any, a conditioned batch norm and a gated linear unit.

    Noise is drawn anew in training. In evaluation it is a fixed map, as where StyleGAN2 samples, so
    that an image depends on z and the prior alone.

    Args:
        conv (nn.Module): A spectrally normalized convolution to twice ``channels``.
        channels (int): Channels of the output.
        condition_dim (int): E, length of the condition.
        noise_size (int, optional): Height and width of the noise. Defaults to None: no noise.
    """

    fixed_noise: Tensor

    def __init__(
        self, conv: nn.Module, channels: int, condition_dim: int, noise_size: int | None = None
    ) -> None:
        super().__init__()
        self.conv = conv
        self.noise_weight = None if noise_size is None else nn.Parameter(torch.zeros(1))
        if noise_size is not None:
            self.register_buffer('fixed_noise', torch.randn(1, 1, noise_size, noise_size))
        width = 2 * channels
        self.norm = PriorConditionBN(nn.BatchNorm2d(width, affine=False), width, condition_dim)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Turn (N, C, H, W) and (N, E) into (N, channels, H', W')."""
        x = self.conv(x)
        if self.noise_weight is not None:
            x = x + (self.noise_weight * self._draw_noise(len(x))).to(x.dtype)
        return functional.glu(self.norm(x, condition), dim=1)

    def _draw_noise(self, num: int) -> Tensor:
        if not self.training:
            return self.fixed_noise
        # processes share one stream of random numbers: each draws for all and keeps its rows
        world_size, shape = get_world_size(), self.fixed_noise.shape[1:]
        noise = torch.randn(num * world_size, *shape, device=self.fixed_noise.device)
        return noise[get_rank() :: world_size]


class FastGANBlock(nn.Module):
    """Enlarge to the nearest neighbors, then one layer, or two with noise.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        size (int): Height and width of the output.
        condition_dim (int): E, length of the condition.
    """

    def __init__(self, in_channels: int, out_channels: int, size: int, condition_dim: int) -> None:
        super().__init__()
        is_double = size in DOUBLE
        options = (out_channels, condition_dim, size if is_double else None)
        self.upsample = nn.Upsample(scale_factor=2, mode='nearest')
        self.layer_1 = FastGANLayer(_convolution(in_channels, 2 * out_channels), *options)
        self.layer_2 = (
            FastGANLayer(_convolution(out_channels, 2 * out_channels), *options)
            if is_double
            else None
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Turn (N, in_channels, H, W) and (N, E) into (N, out_channels, 2H, 2W)."""
        x = self.layer_1(self.upsample(x), condition)
        return x if self.layer_2 is None else self.layer_2(x, condition)


@MODELS.register_module()
class DISPFastGANGenerator(BaseModule):
    r"""FastGAN's generator G(z | C(x)), conditioned by G_emb(C(x)) through its batch norms.

    Liu et al. 2021 (arXiv 2101.04775): a transposed 4x4 convolution of z, then blocks that double
    the size, with spectral norm in every convolution, batch norms and gated linear units.
    Skip-layer excitation (their equation (1)) scales channels of large maps by small ones,

    .. math:: y = F(x_{low}, W) \cdot x_{high},

    4 to 64, 8 to 128, 16 to 256 and 32 to 512 px. Numbers that the paper does not state are those
    of its code, github.com/odegeasslbc/FastGAN-pytorch: channels by size, SiLU inside of F (the
    paper has LeakyReLU), noise in the blocks of 8, 32, 128 and 512 px. A
    :class:`PriorConditionBN` replaces each batch norm; the second image of 128 px, which only
    FastGAN's own discriminator sees, is left out.

    With ``prior_dim=0`` there is no prior: the noise itself feeds each norm (self-modulation, see
    :func:`self_modulate`).

    Args:
        output_scale (int): Height and width of the image in pixels: a power of two from 8 to 1024.
        prior_dim (int): D, length of a prior, or 0 for the unconditional baseline.
        noise_size (int): Z, length of the noise. Defaults to 256.
        base_channels (int): Channels at 128 px; 16 times as many at 4 px, an eighth at 1024 px.
            Defaults to 64.
        prior_emb_dim (int): E, length of the projected prior. Defaults to 128.
        prior_projection (dict, optional): Further arguments of :class:`PriorProjection`.
            Defaults to None.
        modulation_dim (int): Length of the hidden layer between noise and norms where ``prior_dim``
            is 0; 0 for no such layer. Defaults to 32, as published.
        num_classes (int, optional): Ignored; lets a config inherit one of mmagic's.
            Defaults to None.
        init_cfg (dict, optional): As in mmengine's ``BaseModule``. Defaults to None: convolutions
            from N(0, 0.02), as published.

    Raises:
        ValueError: There is no architecture for ``output_scale`` or so few channels, or
            ``modulation_dim`` is negative.
    """

    def __init__(
        self,
        output_scale: int,
        prior_dim: int,
        noise_size: int = 256,
        base_channels: int = 64,
        prior_emb_dim: int = 128,
        prior_projection: dict | None = None,
        modulation_dim: int = 32,
        num_classes: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        check_modulation(modulation_dim)
        sizes = list(CHANNELS)
        check_scale(output_scale, sizes[1:], 'DISPFastGANGenerator')
        sizes = sizes[: sizes.index(output_scale) + 1]
        widths = {size: int(CHANNELS[size] * base_channels) for size in sizes}
        if not widths[output_scale]:
            raise ValueError(
                f'base_channels of DISPFastGANGenerator is {base_channels}; at {output_scale} px '
                f'it must be {int(1 / CHANNELS[output_scale])} or more'
            )
        conv_layers = ['Conv2d', 'ConvTranspose2d']
        super().__init__(init_cfg or dict(type='Normal', layer=conv_layers, std=0.02))
        self.output_scale = output_scale
        self.prior_dim = prior_dim
        self.noise_size = noise_size
        condition_dim = prior_emb_dim if prior_dim > 0 else noise_size
        if prior_dim > 0:
            self.prior_projection = PriorProjection(
                prior_dim, prior_emb_dim, **(prior_projection or {})
            )
        first = spectral_norm(nn.ConvTranspose2d(noise_size, 2 * widths[4], 4, bias=False))
        blocks: list[nn.Module] = [FastGANLayer(first, widths[4], condition_dim)]
        for size in sizes[1:]:
            blocks.append(FastGANBlock(widths[size // 2], widths[size], size, condition_dim))
        self.conv_blocks = nn.ModuleList(blocks)
        for norm in self.modules() if prior_dim == 0 and modulation_dim else ():
            if isinstance(norm, PriorConditionBN):
                num_features = cast(nn.BatchNorm2d, norm.norm).num_features
                self_modulate(norm, num_features, noise_size, modulation_dim)
        self.excitations = nn.ModuleDict(
            {
                str(size): _excitation(widths[EXCITED_BY[size]], widths[size])
                for size in sizes
                if size in EXCITED_BY
            }
        )
        self.to_rgb = _convolution(widths[output_scale], 3)

    def forward(
        self,
        noise: Noise,
        prior: Tensor | None = None,
        num_batches: int = 0,
        return_noise: bool = False,
        truncation: float = -1.0,
    ) -> Tensor | dict:
        """Generate images; arguments and return value as of :class:`DISPSNGANGenerator`."""
        noise = draw_noise(self, noise, num_batches, truncation)
        condition = noise
        if self.prior_dim > 0:
            prior = check_prior(prior, self.prior_dim, len(noise), type(self).__name__)
            condition = self.prior_projection(prior)
        maps: dict[int, Tensor] = {}
        x, size = noise[:, :, None, None], 4
        for block in self.conv_blocks:
            x = block(x, condition)
            if size in EXCITED_BY:
                x = x * self.excitations[str(size)](maps.pop(EXCITED_BY[size]))
            if size in EXCITED_BY.values():
                maps[size] = x
            size *= 2
        images = widen(torch.tanh(self.to_rgb(x)))
        if not return_noise:
            return images
        return {'fake_img': images, 'noise_batch': noise, 'prior': prior}


def _convolution(in_channels: int, out_channels: int, kernel_size: int = 3) -> nn.Module:
    padding = 1 if kernel_size == 3 else 0
    return spectral_norm(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, bias=False)
    )


def _excitation(low: int, high: int) -> nn.Sequential:
    """Build F: channels of a small feature map -> (N, high, 1, 1) factors in [0, 1]."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(4),
        _convolution(low, high, 4),
        nn.SiLU(),
        _convolution(high, high, 1),
        nn.Sigmoid(),
    )
