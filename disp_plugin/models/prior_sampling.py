"""Sampling of images: noise, and priors from a sampler where none are given."""

from typing import Any, NamedTuple, Protocol

import torch
from mmagic.models.base_models import BaseGAN
from mmagic.models.utils import get_valid_num_batches
from mmengine.dist import get_rank, get_world_size
from torch import Tensor


class Latents(NamedTuple):
    """What an image is generated from.

    Attributes:
        noise (Tensor): (N, Z).
        prior (Tensor | None): (N, D) raw priors; None for a model without priors.
    """

    noise: Tensor
    prior: Tensor | None


class PriorGAN(Protocol):
    """What hooks, applications and metrics ask of a GAN of this package.

    Attributes:
        noise_size (int): Z, length of the noise.
        prior_dim (int): D, length of a prior; 0 where there is none.
        image_size (int | None): Height and width of images in pixels.
        prior_normalizer (PriorNormalizer): Turns raw priors into what the networks take.
        sampler (PriorSampler | None): Where priors of new images come from.
        generator (nn.Module): The generator that is trained.
        generator_ema (nn.Module): Its EMA, where the model keeps one.
        discriminator (nn.Module | None): The discriminator.
    """

    noise_size: int
    prior_dim: int
    image_size: int | None
    prior_normalizer: Any
    sampler: Any
    generator: Any
    generator_ema: Any
    discriminator: Any

    def draw_latents(self, num: int, generator: torch.Generator | None = None) -> Latents:
        """Draw the noise and the raw priors of new images."""
        ...

    def condition(self, prior: Tensor | None) -> Tensor | None:
        """Normalize raw priors into what the networks take."""
        ...


class PriorSampling(BaseGAN):
    """The half of :class:`DISPGAN` that samples; its constructor sets the attributes.

    Attributes:
        prior_dim (int): D, length of a prior; 0 where there is none.
        prior_normalizer (PriorNormalizer): Turns raw priors into what the networks take.
        sampler (BasePriorSampler | None): Where priors of new images come from.
    """

    prior_dim: int
    noise_size: int
    prior_normalizer: Any
    sampler: Any

    def noise_fn(self, noise: Any = None, num_batches: int = 1) -> Tensor:
        """Draw noise.

        Each of W processes draws for all and keeps its rows: with the same seed they use the noise
        that one process with the whole batch would.

        Args:
            noise (Tensor | callable | None): As in mmagic. Defaults to None.
            num_batches (int): N, noise vectors of this process. Defaults to 1.

        Returns:
            Tensor: (N, Z).
        """
        if noise is not None:
            return super().noise_fn(noise, num_batches)
        world_size = get_world_size()
        return super().noise_fn(None, num_batches * world_size)[get_rank() :: world_size]

    def draw_latents(self, num: int, generator: torch.Generator | None = None) -> Latents:
        """Draw the noise and the raw priors of new images.

        From the global generator each of W processes draws for all and keeps its rows; from a
        generator of their own all draw the same.

        Args:
            num (int): N, images of this process.
            generator (torch.Generator, optional): Source of randomness, on the CPU, so that a seed
                gives the same on every device. Defaults to None, the global one.

        Returns:
            Latents: Noise (N, Z) and raw priors (N, D), or None where ``prior_dim`` is 0, on the
            model's device.

        Raises:
            RuntimeError: There is no sampler.
        """
        if generator is None:
            return Latents(self.noise_fn(num_batches=num), self._draw_priors(num, None))
        noise = torch.randn(num, self.noise_size, generator=generator).to(self.device)
        return Latents(noise, self._draw_priors(num, generator))

    def _draw_priors(self, num: int, generator: torch.Generator | None) -> Tensor | None:
        if self.prior_dim == 0:
            return None
        if self.sampler is None:
            raise RuntimeError(
                'this model has no sampler of priors: give model.sampler in the config, as '
                "dict(type='VicinalMixSampler'), or call it with inputs=dict(prior=...)"
            )
        if generator is not None:
            return self.sampler.sample(num, generator).to(self.device)
        world_size = get_world_size()
        return self.sampler.sample(num * world_size)[get_rank() :: world_size].to(self.device)

    def condition(self, prior: Tensor | None) -> Tensor | None:
        """Normalize raw priors into what the networks take.

        Args:
            prior (Tensor | None): (N, D) raw priors, or None.

        Returns:
            Tensor | None: (N, D) normalized priors, or None.
        """
        if prior is None or self.prior_dim == 0:
            return None
        return self.prior_normalizer(prior)

    def forward(self, inputs: Any, data_samples: Any = None, mode: str | None = None) -> list:
        """Sample images.

        Args:
            inputs (dict | Tensor): Noise (N, Z), or a dict with any of ``noise``, ``num_batches``,
                ``prior`` (N, D, raw; drawn from the sampler where it is missing), ``sample_model``
                ('ema', 'orig', 'ema/orig') and ``sample_kwargs``, as ``dict(truncation=0.5)``.
            data_samples (optional): As in mmagic. Defaults to None.
            mode (str, optional): Not used, as in mmagic. Defaults to None.

        Returns:
            list[DataSample]: N samples with ``fake_img`` (3, H, W) in [0, 255], ``noise`` and
            ``prior``.
        """
        inputs = dict(noise=inputs) if isinstance(inputs, Tensor) else dict(inputs)
        num_batches = get_valid_num_batches(inputs, data_samples)
        inputs['noise'] = self.noise_fn(inputs.get('noise'), num_batches=num_batches)
        prior = inputs.pop('prior', None)
        prior = self._draw_priors(num_batches, None) if prior is None else prior.to(self.device)
        sample_kwargs = dict(inputs.get('sample_kwargs') or {})
        if prior is not None:
            sample_kwargs['prior'] = self.condition(prior)
        inputs['sample_kwargs'] = sample_kwargs
        samples = BaseGAN.forward(self, inputs, data_samples, mode)  # type: ignore[arg-type]
        for index, sample in enumerate(samples):
            sample.sample_kwargs = {k: v for k, v in sample_kwargs.items() if k != 'prior'}
            if prior is not None:
                sample.prior = prior[index]
        return samples
