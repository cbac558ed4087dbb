"""mmagic's SNGAN and BigGAN generators with a prior in place of the class label."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import torch
from mmagic.models.editors.biggan import BigGANGenerator
from mmagic.models.editors.biggan.biggan_modules import BigGANConditionBN
from mmagic.models.editors.sagan import SNGANGenerator
from mmagic.models.editors.sagan.sagan_modules import SNConditionNorm
from mmagic.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from .float32 import widen
from .image_size import BIGGAN_SCALES, check_scale
from .prior_modules import PriorConditionBN, PriorProjection, check_prior, self_modulate

Noise = Tensor | Callable[[tuple[int, ...]], Tensor] | None
"""(N, Z) noise, a function of a shape that draws it, or None to draw it in the generator."""


@MODELS.register_module()
class DISPSNGANGenerator(SNGANGenerator):
    """SNGAN's generator G(z | C(x)), conditioned by G_emb(C(x)) through its batch norms.

    A :class:`PriorConditionBN` replaces each of mmagic's class-conditional norms; all other
    parameters keep mmagic's names and shapes, so its checkpoints load.

    With ``prior_dim=0`` there is no prior: the noise itself feeds each norm (self-modulation, the
    paper's unconditional baseline, see :func:`self_modulate`).

    Args:
        output_scale (int): Height and width of the image in pixels.
        prior_dim (int): D, length of a prior, or 0 for the unconditional baseline.
        prior_emb_dim (int): E, length of the projected prior. Defaults to 128.
        prior_projection (dict, optional): Further arguments of :class:`PriorProjection`.
            Defaults to None.
        modulation_dim (int): Length of the hidden layer between noise and norms where ``prior_dim``
            is 0; 0 for no such layer: one matrix from the noise to each scale and shift, without
            bias. Defaults to 32, as published.
        num_classes (int, optional): Ignored; lets a config inherit one of mmagic's.
            Defaults to None.
        use_cbn (bool): Ignored, for the same reason. Defaults to True.
        **kwargs: Arguments of mmagic's ``SNGANGenerator``, but for ``pretrained``: start from a
            checkpoint by the GAN's ``pretrained``.

    Raises:
        ValueError: There is no architecture for ``output_scale``, ``modulation_dim`` is negative,
            or ``pretrained`` is given.
    """

    def __init__(
        self,
        output_scale: int,
        prior_dim: int,
        prior_emb_dim: int = 128,
        prior_projection: dict | None = None,
        modulation_dim: int = 32,
        num_classes: int | None = None,
        use_cbn: bool = True,
        **kwargs: object,
    ) -> None:
        refuse_pretrained(kwargs, 'DISPSNGANGenerator')
        check_modulation(modulation_dim)
        channels_cfg = kwargs.get('channels_cfg') or self._default_channels_cfg
        if isinstance(channels_cfg, dict):
            check_scale(output_scale, channels_cfg, 'DISPSNGANGenerator', 'channels_cfg')
        super().__init__(output_scale, num_classes=1, use_cbn=True, **kwargs)
        self.num_classes = 0
        self.prior_dim = prior_dim
        if prior_dim > 0:
            self.prior_projection = PriorProjection(
                prior_dim, prior_emb_dim, **(prior_projection or {})
            )
        has_prior = prior_dim > 0
        self._replace_norms(
            prior_emb_dim if has_prior else self.noise_size, 0 if has_prior else modulation_dim
        )

    def _replace_norms(self, condition_dim: int, modulation_dim: int) -> None:
        options = dict(
            with_spectral_norm=self.blocks_cfg['with_embedding_spectral_norm'],
            sn_style=self.blocks_cfg['sn_style'],
            sn_eps=self.blocks_cfg['sn_eps'],
        )
        for block in list(self.conv_blocks):
            for name, child in list(block.named_children()):
                if isinstance(child, SNConditionNorm):
                    num_features = child.norm.num_features
                    norm = PriorConditionBN(child.norm, num_features, condition_dim, **options)
                    if modulation_dim:
                        self_modulate(norm, num_features, condition_dim, modulation_dim, **options)
                    setattr(block, name, norm)

    def forward(
        self,
        noise: Noise,
        prior: Tensor | None = None,
        num_batches: int = 0,
        return_noise: bool = False,
        truncation: float = -1.0,
    ) -> Tensor | dict:
        """Generate images.

        Args:
            prior (Tensor, optional): (N, D) normalized priors; must be None if ``prior_dim`` is 0.
                Defaults to None.
            num_batches (int): N, needed where noise is drawn. Defaults to 0.
            truncation (float): Clamp noise to [-truncation, truncation]; below 0 no clamp.
                Defaults to -1.0.

        Returns:
            Tensor | dict: (N, 3, H, W) images in [-1, 1] in the channel order of training; with
            ``return_noise`` a dict with ``fake_img``, ``noise_batch`` and ``prior``.

        Raises:
            ValueError: The prior is missing or of another shape.
        """
        noise = draw_noise(self, noise, num_batches, truncation)
        if self.prior_dim > 0:
            prior = check_prior(prior, self.prior_dim, len(noise), type(self).__name__)
            condition = self.prior_projection(prior)
        else:
            condition = noise
        # mmagic refuses a float tensor as label, but calls a function and takes what it returns.
        out = super().forward(
            noise, num_batches=len(noise), label=lambda _: condition, return_noise=return_noise
        )
        return _finish(out, prior)


@MODELS.register_module()
class DISPBigGANGenerator(BigGANGenerator):
    """BigGAN's generator G(z | C(x)), conditioned by G_emb(C(x)) through its batch norms.

    The prior, projected to ``shared_dim``, replaces BigGAN's shared class embedding; with
    ``split_noise`` a chunk of the noise is appended to it in every block (the paper's hierarchical
    latent). All other parameters keep mmagic's names and shapes, so its checkpoints load.

    With ``prior_dim=0`` there is no prior: with ``split_noise`` the whole noise feeds each norm
    (self-modulation, the unconditional baseline, see :func:`self_modulate`), though the first layer
    keeps its chunk, so that pretrained weights load; without ``split_noise`` norms are plain.

    Args:
        output_scale (int): Height and width of the image in pixels.
        prior_dim (int): D, length of a prior, or 0 for the unconditional baseline.
        shared_dim (int): E, length of the projected prior. Defaults to 128, as in the paper.
        prior_projection (dict, optional): Further arguments of :class:`PriorProjection`.
            Defaults to None.
        modulation_dim (int): Length of the hidden layer between noise and norms where ``prior_dim``
            is 0; 0 for no such layer: one matrix from its chunk to each scale and shift, without
            bias. Defaults to 32, as published.
        num_classes (int, optional): Ignored; lets a config inherit one of mmagic's.
            Defaults to None.
        with_shared_embedding (bool): Ignored, for the same reason; the blocks always share a prior.
            Defaults to True.
        **kwargs: Arguments of mmagic's ``BigGANGenerator``.

    Raises:
        ValueError: There is no architecture for ``output_scale``, or ``modulation_dim`` is
            negative.
    """

    def __init__(
        self,
        output_scale: int,
        prior_dim: int,
        shared_dim: int = 128,
        prior_projection: dict | None = None,
        modulation_dim: int = 32,
        num_classes: int | None = None,
        with_shared_embedding: bool = True,
        **kwargs: object,
    ) -> None:
        if not kwargs.get('arch_cfg'):
            check_scale(output_scale, BIGGAN_SCALES, 'DISPBigGANGenerator', 'arch_cfg')
        check_modulation(modulation_dim)
        has_prior = prior_dim > 0
        takes_noise = not has_prior and modulation_dim > 0 and bool(kwargs.get('split_noise', True))
        super().__init__(
            output_scale,
            num_classes=int(has_prior or takes_noise),
            with_shared_embedding=has_prior or takes_noise,
            shared_dim=shared_dim,
            **kwargs,
        )
        self.shared_embedding = nn.Identity()
        self.prior_dim = prior_dim
        if takes_noise:
            cfg = self.blocks_cfg
            options = {name: cfg[name] for name in ('with_spectral_norm', 'sn_style', 'sn_eps')}
            for norm in self.conv_blocks.modules():
                if isinstance(norm, BigGANConditionBN):
                    num_features = norm.bn.num_features
                    self_modulate(norm, num_features, self.noise_size, modulation_dim, **options)
        if has_prior:
            self.prior_projection = PriorProjection(
                prior_dim, shared_dim, **(prior_projection or {})
            )

    def forward(
        self,
        noise: Noise,
        prior: Tensor | None = None,
        num_batches: int = 0,
        return_noise: bool = False,
        truncation: float = -1.0,
    ) -> Tensor | dict:
        """Generate images; arguments and return value as of :class:`DISPSNGANGenerator`."""
        options = dict(num_batches=num_batches, return_noise=return_noise, truncation=truncation)
        if self.prior_dim == 0:
            # where norms are self-modulated, the noise stands for the class embedding
            noise = draw_noise(self, noise, num_batches, truncation)
            out = super().forward(noise, label=noise, use_outside_embedding=True, **options)
            return _finish(out, None)
        num_images = noise.shape[0] if isinstance(noise, Tensor) else num_batches
        prior = check_prior(prior, self.prior_dim, num_images, type(self).__name__)
        prior_emb = self.prior_projection(prior)
        out = super().forward(noise, label=prior_emb, use_outside_embedding=True, **options)
        return _finish(out, prior)


def check_modulation(modulation_dim: int) -> None:
    """Raise ValueError if the length of the hidden layer of self-modulation is negative."""
    if modulation_dim < 0:
        raise ValueError(
            f'modulation_dim of a generator is {modulation_dim}; it must be the length of a hidden '
            'layer (published: 32), or 0 for none'
        )


def draw_noise(
    generator: nn.Module, noise: Noise, num_batches: int, truncation: float = -1.0
) -> Tensor:
    """Draw noise where none is given, move it to the generator's device and truncate it."""
    if not isinstance(noise, Tensor):
        noise = (noise or torch.randn)((num_batches, cast(int, generator.noise_size)))
    noise = noise.to(next(generator.parameters()).device)
    return noise.clamp(-truncation, truncation) if truncation >= 0 else noise


def _finish(out: Any, prior: Tensor | None) -> Any:
    """Give images in float32 under autocast, too; in a dict, give the prior for the label."""
    if not isinstance(out, dict):
        return widen(out)
    out.pop('label', None)
    return {**out, 'fake_img': widen(out['fake_img']), 'prior': prior}


class NetworkWrapper(BaseModule):
    """A module around a network, into which checkpoints of the bare network load."""

    # name of the wrapped network
    wrapped = ''

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        own = tuple(f'{name}.' for name in self._modules) + tuple(self._buffers)
        for key in [key for key in state_dict if key.startswith(prefix)]:
            name = key[len(prefix) :]
            if not name.startswith(own):
                state_dict[f'{prefix}{self.wrapped}.{name}'] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)


class GeneratorWrapper(NetworkWrapper):
    """A generator with parts of its own around another generator.

    What it does not have itself it takes from that generator: ``noise_size``, ``prior_dim``,
    ``get_mean_latent`` and all others. Checkpoints of the bare generator load into it.

    Args:
        generator (dict | str | nn.Module): The generator, its config, or its type.
        **kwargs: Options of the generator that its config lacks.

    Attributes:
        loaded_names (set[str] | None): Names of the generator's entries that ``model.pretrained``
            brought; None where nothing was loaded.
    """

    wrapped = 'generator'
    # Options of the GAN that the wrapper cannot take, with the reason.
    UNSUPPORTED: ClassVar[dict[str, str]] = {}
    # Whether it is of no use around a generator that was not trained.
    needs_pretrained: ClassVar[bool] = True

    def __init__(self, generator: dict | str | nn.Module, **kwargs: object) -> None:
        super().__init__()
        config = dict(type=generator) if isinstance(generator, str) else generator
        if not isinstance(config, nn.Module):
            config = MODELS.build(config, default_args=kwargs)
        self.generator = config
        self.loaded_names: set[str] | None = None

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if 'generator' not in self.__dict__.get('_modules', {}):
                raise
            return getattr(self._modules['generator'], name)


def refuse_pretrained(options: Mapping[str, object], network: str) -> None:
    """Raise ValueError if a generator is given mmagic's option to start from a checkpoint."""
    if options.get('pretrained') is not None:
        raise ValueError(
            f"{network} takes no 'pretrained'; give it to the GAN as "
            "model.pretrained=dict(checkpoint='...')"
        )


def has_styles(generator: nn.Module) -> bool:
    """Return whether a generator, wrapped or not, is a StyleGAN."""
    return hasattr(generator, 'style_mapping')
