"""mmagic's StyleGAN2 generator with a prior beside the noise."""

from typing import Any

import torch
from mmagic.models.editors.stylegan2 import StyleGAN2Generator
from mmagic.registry import MODELS
from mmengine.dist import all_reduce, get_rank, get_world_size
from torch import Tensor, nn

from .check_scale import check_stylegan2_scale, stylegan2_width
from .prior_projection import PriorProjection, check_prior

FIRST_MAPPING_WEIGHT = 'style_mapping.1.linear.weight_orig'


@MODELS.register_module()
class DISPStyleGAN2Generator(StyleGAN2Generator):
    """StyleGAN2's generator G(z | C(x)): G_emb(C(x)) beside the noise at the mapping's input.

    G_emb is an MLP of two layers with a ReLU between them. Noise and projected prior are normalized
    to unit second moment one by one, as mmagic does with noise and label, and concatenated. All
    other parameters keep the names they have in mmagic's unconditional generator, and all but the
    mapping's first matrix, which is twice as wide, their shapes.

    With ``prior_dim=0`` there is no prior: mmagic's unconditional generator (the baseline).

    ``w_avg``, which truncation pulls styles to, follows the styles of every training step of the
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
        **kwargs: Arguments of mmagic's ``StyleGAN2Generator``, but for ``cond_size`` and
            ``pretrained``: start from a checkpoint by the GAN's ``pretrained``.

    Raises:
        ValueError: ``out_size`` is none that StyleGAN2 has, the width is none, or ``pretrained`` or
            ``cond_size`` is given.
    """

    def __init__(
        self,
        out_size: int,
        prior_dim: int,
        style_channels: int = 512,
        channel_base: int = 32768,
        channel_max: int = 512,
        prior_projection: dict | None = None,
        **kwargs: Any,
    ) -> None:
        check_stylegan2_scale(out_size, channel_base, channel_max, 'DISPStyleGAN2Generator')
        if kwargs.get('pretrained') is not None:
            raise ValueError(
                "DISPStyleGAN2Generator takes no 'pretrained'; give it to the GAN as "
                "model.pretrained=dict(checkpoint='...')"
            )
        if kwargs.get('cond_size'):
            raise ValueError(
                "DISPStyleGAN2Generator takes no 'cond_size': the prior is its condition, give "
                'prior_dim'
            )
        has_prior = prior_dim > 0
        self._width = (channel_base, channel_max)
        kwargs.update(cond_size=style_channels if has_prior else None)
        kwargs.setdefault('update_mean_latent_with_ema', True)
        super().__init__(out_size, style_channels, **kwargs)
        self.prior_dim = prior_dim
        if has_prior:
            self.embed = nn.Identity()
            options = dict(num_layers=2, bias=True, equalized_lr=True)
            self.prior_projection = PriorProjection(
                prior_dim, style_channels, **{**options, **(prior_projection or {})}
            )
            # In the place of the PixelNorm that begins the unconditional mapping.
            mapping: Any = self._modules['style_mapping']
            self.style_mapping = nn.Sequential(nn.Identity(), *mapping)

    @property
    def channels(self) -> dict[int, int]:
        """dict[int, int]: Channels of the feature maps by their size in pixels."""
        return self._channels

    @channels.setter
    def channels(self, channels: dict[int, int]) -> None:
        # mmagic sets them in its constructor, on the way to building the layers.
        self._channels = {
            size: stylegan2_width(width, size, *self._width) for size, width in channels.items()
        }

    def forward(
        self,
        noise: Any,
        prior: Tensor | None = None,
        num_batches: int = -1,
        return_noise: bool = False,
        truncation: float = 1.0,
        **kwargs: Any,
    ) -> Tensor | dict:
        """Generate images.

        Args:
            noise (Tensor | list[Tensor] | callable | None): (N, Z) noise, two of them to mix their
                styles, a function of a shape that draws it, or None to draw it here.
            prior (Tensor, optional): (N, D) normalized priors; must be None if ``prior_dim`` is 0.
                Defaults to None.
            num_batches (int): N, needed where noise is drawn. Defaults to -1.
            return_noise (bool): Whether to return a dict that holds the noise too.
                Defaults to False.
            truncation (float): psi: styles are pulled to ``w_avg`` until this share of their
                distance is left. Defaults to 1.0, not at all.
            **kwargs: As in mmagic: ``return_latents``, ``randomize_noise``, ``injected_noise``,
                ``input_is_latent`` and others.

        Returns:
            Tensor | dict: (N, 3, H, W) images, about [-1, 1], in the channel order of training, or
            a dict with ``fake_img``, ``latent``, ``noise_batch`` and ``prior``.

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
            kwargs['injected_noise'] = self._share_of_noise(num_images)
        if truncation < 1 and kwargs.get('truncation_latent') is None:
            kwargs['truncation_latent'] = self.get_mean_latent()
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

    def _share_of_noise(self, num_images: int) -> list[Tensor] | None:
        """Draw the noise of every layer for all processes and keep this one's rows.

        Processes share one stream of random numbers: left to mmagic, each would draw the same.
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

    def get_mean_latent(self, num_samples: int = 4096, **kwargs: Any) -> Tensor:
        """Look up the mean style.

        Args:
            num_samples (int): Not used where ``w_avg`` is kept. Defaults to 4096.
            **kwargs: Likewise.

        Returns:
            Tensor: (style_channels,).
        """
        if hasattr(self, 'w_avg'):
            return self.w_avg
        return super().get_mean_latent(num_samples, **kwargs)

    @torch.no_grad()
    def estimate_w_avg(self, num_samples: int = 10000, seed: int = 0) -> None:
        """Set ``w_avg`` to the mean style of random noise and random projected priors.

        For a generator whose weights come from a checkpoint without a mean style; without
        ``w_avg`` nothing is done.

        Args:
            num_samples (int): Over how many styles. Defaults to 10000.
            seed (int): Of the random numbers, a generator of their own. Defaults to 0.
        """
        if not hasattr(self, 'w_avg'):
            return
        rng = torch.Generator().manual_seed(seed)
        widths = [self.noise_size] + [self.style_channels] * (self.prior_dim > 0)
        parts = [torch.randn(num_samples, width, generator=rng) for width in widths]
        noise = torch.cat([self.pixel_norm(part.to(self.w_avg)) for part in parts], dim=1)
        self.w_avg.copy_(self.style_mapping(noise).mean(dim=0))

    def adapt_pretrained(self, state: dict[str, Tensor]) -> list[str]:
        """Make the weights of an unconditional generator fit, where a prior joins its noise.

        The mapping's first matrix W gets its columns twice. As its equalized learning rate divides
        by the root of its width, it then maps noise z and projected prior e, each of unit second
        moment, to W (z + e) / sqrt(2): what the pretrained mapping makes of other noise. Training
        thus begins among the images of the pretrained generator.

        Args:
            state (dict[str, Tensor]): Weights by mmagic's names; changed in place.

        Returns:
            list[str]: Names of the entries that were adapted.
        """
        weight = state.get(FIRST_MAPPING_WEIGHT)
        if self.prior_dim == 0 or weight is None or self.noise_size != self.style_channels:
            return []
        if weight.shape != (self.style_channels, self.noise_size):
            return []
        state[FIRST_MAPPING_WEIGHT] = torch.cat([weight, weight], dim=1)
        return [FIRST_MAPPING_WEIGHT]
