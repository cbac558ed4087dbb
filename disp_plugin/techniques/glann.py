"""GLANN: a generator that learns to reconstruct its training images, without a discriminator."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from mmengine import MessageHub
from mmengine.dist import get_world_size
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn
from torch.nn import functional

from disp_plugin.distributed import unwrap_model
from disp_plugin.encoders.backbone import extract_layers
from disp_plugin.models import DISPGAN, GeneratorWrapper, Latents, PriorProjection
from disp_plugin.models.disp_gan import check_shapes
from disp_plugin.models.generators import Noise, draw_noise, has_styles
from disp_plugin.models.prior_modules import check_prior
from disp_plugin.priors import PriorBank

VGG16_LAYERS = ('features.2', 'features.7', 'features.12', 'features.21', 'features.30')


@MODELS.register_module()
class PerceptualDistance:
    r"""Compare images by their pixels and by layers of a frozen network.

    .. math:: L(x, y) = |x - y| + \sum_l |f_l(x) - f_l(y)|

    with means over all numbers, of images in [-1, 1], which the network f sees as they are. Images
    of up to 16, 32 and 64 px use its first 2, 3 and 4 layers. Larger ones use 5, and are compared
    again at a quarter of their size, with 4 (github.com/yedidh/glann, vgg_metric.py and utils.py).
    As there, a ReLU that follows a layer in place changes what is compared, but for the last one.

    Args:
        encoder (dict): Config of the encoder whose network is looked into.
        layers (Sequence[str]): Modules or nodes of it, the lowest first. Defaults to the published
            ones of torchvision's VGG16.

    Raises:
        ValueError: The encoder has no network, or this has no such layer.
    """

    def __init__(self, encoder: dict, layers: Sequence[str] = VGG16_LAYERS) -> None:
        built: Any = MODELS.build(dict(encoder))
        network, name = getattr(built, 'network', None), type(built).__name__
        if network is None or not layers:
            raise ValueError(
                f'perceptual compares layers of a network, but got layers {list(layers)} of '
                f'{name}; name some of a TorchvisionEncoder or CheckpointEncoder'
            )
        # what follows the last layer is cut off: it may need larger images
        self.extractors = [
            extract_layers(network, {layer: layer for layer in layers[:num]}, name)
            for num in range(1, len(layers) + 1)
        ]

    def __call__(self, fake_imgs: Tensor, real_imgs: Tensor) -> Tensor:
        """Compare RGB images (N, 3, H, W) in [-1, 1]; a scalar."""
        size = max(real_imgs.shape[2:])
        if size <= 64:
            return self._compare(fake_imgs, real_imgs, 2 if size <= 16 else 3 if size <= 32 else 4)
        fake, real = (functional.avg_pool2d(img, 4) for img in (fake_imgs, real_imgs))
        return self._compare(fake_imgs, real_imgs, 5) + self._compare(fake, real, 4)

    def _compare(self, fake_imgs: Tensor, real_imgs: Tensor, num_layers: int) -> Tensor:
        extractor = self.extractors[min(num_layers, len(self.extractors)) - 1].to(real_imgs.device)
        made = extractor(fake_imgs)
        with torch.no_grad():
            wanted = extractor(real_imgs)
        pairs = [(fake_imgs, real_imgs), *((made[name], wanted[name]) for name in wanted)]
        return torch.stack(
            [(one.float() - other.float()).abs().mean() for one, other in pairs]
        ).sum()


@MODELS.register_module()
class GLANNGenerator(GeneratorWrapper):
    """A generator without priors, whose noise z is a unit vector: T(n), or G_emb of a prior.

    As published, whatever comes as z is divided by its length, which counts as a constant for the
    gradient. With one embedding for each image, G_emb holds the free latents e_i of GLANN.

    Args:
        generator (dict | str | nn.Module): A DISP generator with ``prior_dim=0``, or its config.
        prior_dim (int): D, length of a prior, or the number of training images.
        **kwargs: Options of the generator that its config lacks.
    """

    needs_pretrained = False
    prior_projection: Any

    def __init__(self, generator: dict | str | nn.Module, prior_dim: int, **kwargs: object) -> None:
        super().__init__(generator, **{**kwargs, 'prior_dim': 0})
        self.prior_dim = prior_dim
        self.prior_projection = PriorProjection(prior_dim, self.noise_size)
        nn.init.normal_(self.prior_projection[0].weight, std=0.01)

    def forward(
        self,
        noise: Noise = None,
        prior: Tensor | None = None,
        num_batches: int = 0,
        **kwargs: Any,
    ) -> Tensor | dict:
        """Generate images of latents (N, Z), or reconstruct those of normalized priors (N, D).

        Other arguments are those of :class:`DISPSNGANGenerator`.
        """
        z = draw_noise(self, noise, num_batches) if prior is None else self.embed(prior)
        if has_styles(self.generator):
            kwargs.setdefault('randomize_noise', False)  # an image is that of its latent
        return self.generator(_to_unit(z), num_batches=len(z), **kwargs)

    def embed(self, prior: Tensor) -> Tensor:
        """Embed normalized priors (N, D) as latents (N, Z) of length 1."""
        prior = check_prior(prior, self.prior_dim, len(prior), type(self).__name__)
        return _to_unit(self.prior_projection(prior))

    @torch.no_grad()
    def renormalize(self) -> None:
        """Bring the free latent of each image back to length 1."""
        weight = self.prior_projection[0].weight
        weight.copy_(functional.normalize(weight, dim=0))


def _to_unit(z: Tensor) -> Tensor:
    return z / z.detach().norm(dim=1, keepdim=True).clamp_min(1e-12)


@MODELS.register_module()
class GLANN(DISPGAN):
    r"""Generative latent nearest neighbors (Hoshen and Malik 2018, arXiv 1812.08985), and + DISP.

    Two stages. First the generator of any of this package's GANs learns to reconstruct the training
    images, without a discriminator,

    .. math:: \min \sum_i L(G(z_i), x_i)

    with L a :class:`PerceptualDistance`. In GLANN (``per_image``) the unit vectors z_i = e_i are
    learned; in GLANN + DISP, equation (7) of the method, z_i = G_emb(C(x_i)) / |G_emb(C(x_i))|.
    Then the sampler, an :class:`~disp_plugin.samplers.IMLESampler`, is fitted to them: it gives the
    latents z of new images, not priors. It is fitted anew, by ``PriorSamplerHook``, whenever
    something is sampled or saved after a step of training.

    As published (github.com/yedidh/glann) the e_i begin small and are brought back to length 1
    after each epoch; Adam's state, which is begun anew there with each epoch, is kept.

    Args:
        generator (dict): Config of a DISP generator.
        discriminator (None): There is none. Defaults to None.
        prior_dim (int): D, length of a prior; the number of training images with ``per_image``.
        perceptual (dict, optional): Config of a :class:`PerceptualDistance`, which is no part of a
            checkpoint. Defaults to None, for a model that only samples.
        sampler (dict | nn.Module, optional): Where latents of new images come from, or its config.
            Defaults to None.
        loss_config (dict, optional): Ignored; lets a config inherit StyleGAN2's. Defaults to None.
        **kwargs: Further arguments of :class:`DISPGAN`.

    Raises:
        ValueError: A technique wants a discriminator, or there is no ``prior_dim``.
    """

    generator: Any

    def __init__(
        self,
        generator: dict,
        discriminator: None = None,
        *,
        prior_dim: int,
        perceptual: dict | None = None,
        sampler: dict | nn.Module | None = None,
        loss_config: dict | None = None,
        **kwargs: Any,
    ) -> None:
        if discriminator is not None:
            raise ValueError(
                'GLANN trains without a discriminator, but model.discriminator is given; leave out '
                'the technique that sets it'
            )
        if prior_dim == 0:
            raise ValueError(
                'GLANN needs prior_dim, the length of priors; --method glann has latents without'
            )
        if isinstance(sampler, dict):
            sampler = MODELS.build(sampler)
        wrapped = dict(type='GLANNGenerator', generator=generator)
        super().__init__(wrapped, prior_dim=prior_dim, sampler=sampler, **kwargs)
        if self.sampler is not None:
            self.sampler.needs_bank = not self.per_image
        # a plain object: its network is in no checkpoint, and no optimizer sees it
        self.perceptual: PerceptualDistance | None = (
            MODELS.build(perceptual) if perceptual else None
        )

    # Sampling: what the sampler draws are latents

    def noise_fn(self, noise: Noise = None, num_batches: int = 1) -> Tensor:
        """Draw latents (N, Z) for the images of this process; ``noise`` as in mmagic."""
        if noise is not None:
            return super().noise_fn(noise, num_batches)
        return self.draw_latents(num_batches).noise

    def draw_latents(self, num: int, generator: torch.Generator | None = None) -> Latents:
        """Draw the latents of ``num`` new images, see :meth:`DISPGAN.draw_latents`; no priors."""
        z = super()._draw_priors(num, generator)
        assert z is not None  # prior_dim is not 0
        return Latents(z, None)

    def _draw_priors(self, num: int, generator: torch.Generator | None) -> None:
        return None

    @torch.no_grad()
    def find_sampled(self, bank: PriorBank | None) -> PriorBank:
        """List the latents z_i of the training images, unflipped, of the generator that samples."""
        average: Any = self.generator_ema if self.with_ema_gen else None
        network = average.module if average else unwrap_model(self.generator)
        if self.per_image:
            keys, prior = [str(row) for row in range(self.prior_dim)], torch.eye(self.prior_dim)
        else:
            assert bank is not None
            keys, prior = bank.keys, torch.from_numpy(bank.take(np.arange(bank.num_images)))
        latents = [
            network.embed(self.normalize_prior(rows.to(self.device))).cpu()
            for rows in prior.split(4096)
        ]
        return PriorBank(keys, torch.cat(latents)[:, None])

    # Training

    def data_sample_to_prior(self, data_samples: DataSample) -> Tensor:
        """Return the normalized priors (N, D) of a batch, or the unit vectors of its images."""
        if not self.per_image:
            return super().data_sample_to_prior(data_samples)  # type: ignore[return-value]
        rows = torch.as_tensor(data_samples.sample_idx).flatten()
        return functional.one_hot(rows.to(self.device), self.prior_dim).float()

    def train_step(self, data: dict, optim_wrapper: OptimWrapperDict) -> dict[str, Tensor]:
        """Update the generator once, and its average; forget the sampler of former latents."""
        wrapper = optim_wrapper['generator']
        data = self.data_preprocessor(data, True)
        with wrapper.optim_context(self.generator):
            log_vars = self.train_generator(**data, optimizer_wrapper=wrapper)
        if self.sampler is not None:
            self.sampler.forget()
        if self.with_ema_gen:
            network = unwrap_model(self.generator)
            if _get_iteration() + 1 < self.ema_start:
                self.generator_ema.sync_parameters(network)
            else:
                self.generator_ema.update_parameters(network)  # and buffers, as DISPGAN's class
        return log_vars

    def train_generator(
        self, inputs: dict, data_samples: DataSample, optimizer_wrapper: OptimWrapper
    ) -> dict[str, Tensor]:
        """Update the generator once; return the loss for the log."""
        if self.perceptual is None:
            raise ValueError("GLANN needs model.perceptual=dict(type='PerceptualDistance', ...)")
        real_imgs = data_samples.gt_img
        fake_imgs = self.generator(prior=self.data_sample_to_prior(data_samples))
        check_shapes(fake_imgs, real_imgs)
        if (getattr(self.data_preprocessor, 'output_channel_order', None) or 'BGR') == 'BGR':
            fake_imgs, real_imgs = fake_imgs.flip(1), real_imgs.flip(1)
        loss, log_vars = self.parse_losses(
            {'loss_perceptual': self.perceptual(fake_imgs, real_imgs)}
        )
        optimizer_wrapper.update_params(loss)
        steps = -(-self.prior_dim // (len(real_imgs) * get_world_size()))
        if self.per_image and (_get_iteration() + 1) % steps == 0:
            unwrap_model(self.generator).renormalize()
        return log_vars


def _get_iteration() -> int:
    # mmengine's loop keeps it; there is none outside of a run
    return MessageHub.get_current_instance().get_info('iter') or 0
