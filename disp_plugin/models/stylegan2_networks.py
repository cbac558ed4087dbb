"""mmagic's StyleGAN2 networks at any width: a generator that takes a prior, a discriminator."""

from typing import Any

import torch
from mmagic.models.editors.stylegan1 import EqualLinearActModule
from mmagic.models.editors.stylegan2 import ADAStyleGAN2Discriminator, StyleGAN2Generator
from mmagic.models.editors.stylegan2.stylegan2_modules import ConvDownLayer, ResBlock
from mmagic.registry import MODELS
from mmengine.dist import all_reduce, get_rank, get_world_size
from torch import Tensor, nn

from disp_plugin.distributed import own_random_numbers

from .float32 import Float32Sequential, without_autocast
from .generators import Noise, refuse_pretrained
from .image_size import check_stylegan2_scale
from .prior_modules import PriorProjection, check_prior
from .stylegan2_autocast import NUM_SCALES, follow_autocast, followed

FIRST_MAPPING_WEIGHT = 'style_mapping.1.linear.weight_orig'


@MODELS.register_module()
class DISPStyleGAN2Generator(StyleGAN2Generator):
    """StyleGAN2's generator G(z | C(x)): G_emb(C(x)) beside the noise at the mapping's input.

    G_emb is an MLP of two layers with a ReLU between them. Noise and projected prior are normalized
    to unit second moment one by one, as mmagic does with noise and label, and concatenated. All
    other parameters keep the names they have in mmagic's unconditional generator, and their shapes;
    only the mapping's first matrix is twice as wide.

    With ``prior_dim=0`` there is no prior: mmagic's unconditional generator (the baseline).

    Truncation pulls styles to ``w_avg``, which follows the styles of every training step of the
    generator.

    Args:
        out_size (int): Height and width of the image in pixels: a power of two from 8 to 1024.
        prior_dim (int): D, length of a prior, or 0 for the unconditional baseline.
        style_channels (int): Length of noise, projected prior and style. Defaults to 512.
        channel_base (int): Channels of a feature map times its size, at most; mmagic's own
            network has 32768. Defaults to 32768.
        channel_max (int): Channels of a feature map, at most; mmagic's own network has 512.
            Defaults to 512.
        prior_projection (dict, optional): Further arguments of :class:`PriorProjection`, two
            layers with biases and equalized learning rate unless they say otherwise.
            Defaults to None.
        num_fp16_scales (int): How many of the largest sizes compute in the type of autocast,
            where there is autocast; the mapping and all else stay in float32. Defaults to 4.
        **kwargs: Arguments of mmagic's ``StyleGAN2Generator``, but for ``cond_size`` and
            ``pretrained``: start from a checkpoint by the GAN's ``pretrained``.

    Raises:
        ValueError: StyleGAN2 has no such size or width; ``pretrained`` or ``cond_size`` is given.
    """

    def __init__(
        self,
        out_size: int,
        prior_dim: int,
        style_channels: int = 512,
        channel_base: int = 32768,
        channel_max: int = 512,
        prior_projection: dict | None = None,
        num_fp16_scales: int = NUM_SCALES,
        **kwargs: object,
    ) -> None:
        check_stylegan2_scale(out_size, channel_base, channel_max, 'DISPStyleGAN2Generator')
        refuse_pretrained(kwargs, 'DISPStyleGAN2Generator')
        if kwargs.get('cond_size'):
            raise ValueError(
                "DISPStyleGAN2Generator takes no 'cond_size': the prior is its condition, give "
                'prior_dim'
            )
        has_prior = prior_dim > 0
        self._width = (channel_base, channel_max)
        kwargs.update(cond_size=style_channels if has_prior else None)
        kwargs.setdefault('update_mean_latent_with_ema', True)
        super().__init__(out_size, style_channels, num_fp16_scales=num_fp16_scales, **kwargs)
        follow_autocast(self)
        self.prior_dim = prior_dim
        mapping: Any = self._modules['style_mapping']
        if has_prior:
            self.embed = nn.Identity()
            options = dict(num_layers=2, bias=True, equalized_lr=True)
            self.prior_projection = PriorProjection(
                prior_dim, style_channels, **{**options, **(prior_projection or {})}
            )
            # In the place of the PixelNorm that begins the unconditional mapping.
            mapping = [nn.Identity(), *mapping]
        self.style_mapping = Float32Sequential(*mapping)

    @property
    def channels(self) -> dict[int, int]:
        """dict[int, int]: Channels of the feature maps by their size in pixels."""
        return self._channels

    @channels.setter
    def channels(self, channels: dict[int, int]) -> None:
        # mmagic sets them in its constructor, on the way to building the layers.
        self._channels = {
            size: _narrow_width(width, size, *self._width) for size, width in channels.items()
        }

    def forward(
        self,
        noise: Noise | list[Tensor],
        prior: Tensor | None = None,
        num_batches: int = -1,
        return_noise: bool = False,
        truncation: float = 1.0,
        **kwargs: object,
    ) -> Tensor | dict:
        """Generate images.

        Args:
            noise (Tensor | list[Tensor] | callable | None): (N, Z) noise, two of them to mix their
                styles, a function of a shape that draws it, or None to draw it here.
            prior (Tensor, optional): (N, D) normalized priors; must be None if ``prior_dim`` is 0.
                Defaults to None.
            num_batches (int): N, needed where noise is drawn. Defaults to -1.
            truncation (float): psi, the fraction that is left of the distance of styles to
                ``w_avg``. Defaults to 1.0, no truncation.
            **kwargs: As in mmagic: ``return_latents``, ``randomize_noise``, ``injected_noise``,
                ``input_is_latent`` and others.

        Returns:
            Tensor | dict: (N, 3, H, W) images, about [-1, 1], in the channel order of training;
            with ``return_noise`` a dict with ``fake_img``, ``latent``, ``noise_batch``, ``prior``.

        Raises:
            ValueError: The prior is missing or of another shape.
        """
        first = noise[0] if isinstance(noise, list | tuple) else noise
        num_images = len(first) if isinstance(first, Tensor) else num_batches
        if self.prior_dim > 0 and not kwargs.get('input_is_latent'):
            check_prior(prior, self.prior_dim, num_images, type(self).__name__)
            kwargs['label'] = self.prior_projection(prior)
        kwargs.setdefault('update_ws', torch.is_grad_enabled())
        if kwargs.get('injected_noise') is None and kwargs.get('randomize_noise', True):
            kwargs['injected_noise'] = self._draw_injected_noise(num_images)
        if truncation < 1 and kwargs.get('truncation_latent') is None:
            kwargs['truncation_latent'] = self.get_mean_latent()
        with followed(next(self.parameters()).device.type):
            out = super().forward(
                noise,
                num_batches=num_batches,
                return_noise=return_noise,
                truncation=truncation,
                **kwargs,
            )
        is_updated = hasattr(self, 'w_avg') and self.training and kwargs['update_ws']
        if is_updated and get_world_size() > 1:
            # the mean over all processes' styles
            all_reduce(self.w_avg, 'mean')
        if isinstance(out, dict):
            out['prior'] = prior
        return out

    def _draw_injected_noise(self, num_images: int) -> list[Tensor] | None:
        """Draw the noise of every layer for all processes and keep this process's rows.

        Processes share one stream of random numbers: in mmagic each would draw the same.
        """
        rank, world_size = get_rank(), get_world_size()
        if world_size == 1:
            return None
        noises = [getattr(self, f'injected_noise_{i}') for i in range(self.num_injected_noises)]
        return [
            torch.randn(num_images * world_size, *noise.shape[1:], device=noise.device)[
                rank::world_size
            ]
            for noise in noises
        ]

    def get_mean_latent(self, num_samples: int = 4096, **kwargs: object) -> Tensor:
        """Return the mean style, (style_channels,); the arguments count where no w_avg is kept."""
        if hasattr(self, 'w_avg'):
            return self.w_avg
        return super().get_mean_latent(num_samples, **kwargs)

    @torch.no_grad()
    def estimate_w_avg(self, num_samples: int = 10000, seed: int = 0) -> None:
        """Set ``w_avg``, if it is kept, to the mean style of random noise and projected priors.

        For a generator whose weights come from a checkpoint without a mean style.
        """
        if not hasattr(self, 'w_avg'):
            return
        rng = torch.Generator().manual_seed(seed)
        widths = [self.noise_size] + [self.style_channels] * (self.prior_dim > 0)
        parts = [torch.randn(num_samples, width, generator=rng) for width in widths]
        noise = torch.cat([self.pixel_norm(part.to(self.w_avg)) for part in parts], dim=1)
        self.w_avg.copy_(self.style_mapping(noise).mean(dim=0))

    def widen_mapping(self, weight: Tensor) -> Tensor | None:
        """Widen the first matrix W of a pretrained mapping for the prior; None if it needs not be.

        W gets its columns twice. As its equalized learning rate divides by the root of its width,
        it then maps noise z and projected prior e, each of unit second moment, to W (z + e) /
        sqrt(2), as the pretrained mapping maps noise. Training thus begins among the images of the
        pretrained generator.
        """
        narrow = (self.style_channels, self.noise_size)
        if self.prior_dim == 0 or self.noise_size != self.style_channels or weight.shape != narrow:
            return None
        return torch.cat([weight, weight], dim=1)


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
        num_fp16_scales (int): As in :class:`DISPStyleGAN2Generator`. Defaults to 4.
        **kwargs: Further arguments of mmagic's ``StyleGAN2Discriminator``.

    Raises:
        ValueError: StyleGAN2 has no such size or width.
    """

    def __init__(
        self,
        in_size: int,
        channel_base: int = 32768,
        channel_max: int = 512,
        img_channels: int = 3,
        blur_kernel: tuple[int, ...] = (1, 3, 3, 1),
        data_aug: dict | None = None,
        num_fp16_scales: int = NUM_SCALES,
        **kwargs: object,
    ) -> None:
        check_stylegan2_scale(in_size, channel_base, channel_max, type(self).__name__)
        kernel = list(blur_kernel)
        options = dict(img_channels=img_channels, blur_kernel=kernel, data_aug=data_aug, **kwargs)
        super().__init__(in_size, num_fp16_scales=num_fp16_scales, **options)
        if (channel_base, channel_max) != (32768, 512):
            self._narrow(channel_base, channel_max, img_channels, kernel)
        follow_autocast(self)

    def forward(self, x: Tensor) -> Tensor:
        """Score images (N, 3, H, W) in [-1, 1], N at most 4 or a multiple of 4; return (N, 1).

        Each process draws augmentations of its own.
        """
        if self.with_ada:
            with own_random_numbers(x.device), without_autocast(x.device.type):
                x = self.ada_aug.aug_pipeline(x)
        with followed(x.device.type):
            return super(ADAStyleGAN2Discriminator, self).forward(x)

    def _narrow(
        self, channel_base: int, channel_max: int, img_channels: int, blur_kernel: list[int]
    ) -> None:
        host: Any = self
        first, *blocks = host.convs
        size = 2**self.log_size
        widths = [_narrow_width(first[0].out_channels, size, channel_base, channel_max)]
        layers: list[nn.Module] = [
            ConvDownLayer(img_channels, widths[0], 1, fp16_enabled=first.fp16_enabled)
        ]
        for block in blocks:
            size //= 2
            width = _narrow_width(block.skip[1].out_channels, size, channel_base, channel_max)
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


def _narrow_width(width: int, size: int, channel_base: int, channel_max: int) -> int:
    """Return the channels of a feature map of ``size`` px for which mmagic has ``width``."""
    return min(width, channel_base // size, channel_max)
