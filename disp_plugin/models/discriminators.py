"""Discriminators of mmagic that score a prior, see augmented images or have frozen blocks."""

from collections.abc import Callable
from typing import Any, Protocol

from mmagic.models.editors.sagan.sagan_modules import SNGANDiscResBlock
from mmagic.models.editors.stylegan2 import ADAStyleGAN2Discriminator
from mmagic.registry import MODELS
from torch import Tensor, nn

from .float32 import widen
from .generators import NetworkWrapper
from .prior_modules import PriorProjection, check_prior


class Freeze(Protocol):
    """What :class:`DiscriminatorWrapper` asks of a choice of frozen blocks."""

    def hold(self, discriminator: nn.Module) -> None:
        """Freeze the blocks of a discriminator, in place."""
        ...


@MODELS.register_module()
class DiscriminatorWrapper(NetworkWrapper):
    """A discriminator that sees augmented images, or has frozen blocks.

    Both hold in training mode only, for real and fake images and in the steps of both networks,
    since all of them go through the discriminator. Checkpoints of mmagic load into the wrapped
    part.

    Args:
        discriminator (dict | nn.Module): A discriminator of mmagic, or its config.
        augmentation (dict | nn.Module, optional): A differentiable augmentation of (N, 3, H, W)
            images in [-1, 1], or its config, as ``dict(type='DiffAugment')``. Defaults to None.
        freeze (dict | Freeze, optional): Which blocks are frozen, as
            ``dict(type='FreezeD', blocks=5)``. Defaults to None.
        num_classes (int, optional): Classes of a wrapped discriminator whose config does not say
            it, as mmagic's conditional GANs give them. Defaults to None.
        init_cfg (dict, optional): As in mmengine's ``BaseModule``. Defaults to None.

    Raises:
        ValueError: The discriminator has no such blocks.
    """

    wrapped = 'discriminator'
    discriminator: nn.Module
    takes_checkpoints = True  # of mmagic's GANs; else it begins anew where a GAN starts from one

    def __init__(
        self,
        discriminator: dict | nn.Module,
        augmentation: dict | nn.Module | None = None,
        freeze: dict | Freeze | None = None,
        num_classes: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_classes is not None and isinstance(discriminator, dict):
            discriminator = {'num_classes': num_classes, **discriminator}
        self.discriminator = _build(discriminator)
        self.augmentation: nn.Module | None = _build(augmentation)
        self.freeze: Freeze | None = _build(freeze)
        if self.freeze is not None:
            self.freeze.hold(self.discriminator)

    @property
    def num_classes(self) -> int:
        """int: Classes that the wrapped discriminator takes labels of; 0 for none."""
        return getattr(self.discriminator, 'num_classes', 0) or 0

    def forward(self, img: Tensor, *args: object, augment: bool = True, **kwargs: object) -> Tensor:
        """Score images (N, 3, H, W) in [-1, 1], augmented in training if ``augment``."""
        return widen(self.discriminator(self.prepare(img, augment), *args, **kwargs))

    def prepare(self, img: Tensor, augment: bool = True) -> Tensor:
        """Augment images and freeze blocks in training mode; return (N, 3, H, W) images."""
        if not self.training:
            return img
        if self.freeze is not None:
            # mmagic's train_step lets all of the discriminator learn after each generator step
            self.freeze.hold(self.discriminator)
        return self.augmentation(img) if augment and self.augmentation is not None else img

    def train(self, mode: bool = True) -> 'DiscriminatorWrapper':
        """Set the mode; frozen blocks stay in evaluation mode, which keeps their buffers.

        mmagic's own discriminator with ADA would augment in both modes; here it is told which.
        """
        super().train(mode)
        if isinstance(self.discriminator, ADAStyleGAN2Discriminator) and hasattr(
            self.discriminator, 'ada_aug'
        ):
            self.discriminator.with_ada = mode
        if self.freeze is not None:
            self.freeze.hold(self.discriminator)
        return self


@MODELS.register_module()
class PriorProjectionDiscriminator(DiscriminatorWrapper):
    r"""Score an image against a prior: equation (3) of the method.

    .. math:: D(x, p) = D_{emb}(p) \cdot D_f(x) + D_l(D_f(x))

    The wrapped discriminator computes D_l(D_f(x)); its last layer D_l must be linear to one number,
    and D_f(x) is the input of that layer. Checkpoints of mmagic load into the wrapped part.

    Args:
        discriminator (dict | nn.Module): An unconditional discriminator of mmagic, or its config.
            ``num_classes`` in a config is set to 0: the prior replaces the label.
        prior_dim (int): D, length of a prior, or 0 for the unconditional baseline: the score is
            then the wrapped discriminator's.
        with_spectral_norm (bool): Whether D_emb is spectrally normalized, as mmagic's own label
            projection is. Defaults to True.
        sn_style (str): 'torch' or 'ajbrock'. Defaults to 'torch'.
        sn_eps (float): Epsilon of the spectral norm. Defaults to 1e-6.
        equalized_lr (bool): Whether D_emb has StyleGAN2's equalized learning rate instead of
            spectral norm; the projection is then divided by sqrt(F), as D_l is. Defaults to False.
        augmentation (dict | nn.Module, optional): As in :class:`DiscriminatorWrapper`.
            Defaults to None.
        freeze (dict | Freeze, optional): As in :class:`DiscriminatorWrapper`. D_emb is never
            frozen. Defaults to None.
        num_classes (int, optional): Ignored; lets a config inherit one of mmagic's.
            Defaults to None.
        init_cfg (dict, optional): As in mmengine's ``BaseModule``. Defaults to None.

    Raises:
        ValueError: The wrapped discriminator is conditional or does not end in a linear layer with
            one output.
    """

    def __init__(
        self,
        discriminator: dict | nn.Module,
        prior_dim: int,
        with_spectral_norm: bool = True,
        sn_style: str = 'torch',
        sn_eps: float = 1e-6,
        equalized_lr: bool = False,
        augmentation: dict | nn.Module | None = None,
        freeze: dict | Freeze | None = None,
        num_classes: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        network = _build_unconditional(discriminator)
        super().__init__(network, augmentation, freeze, init_cfg=init_cfg)
        self.prior_dim = prior_dim
        self._features: Tensor | None = None
        decision = _find_decision(self.discriminator)
        decision.register_forward_pre_hook(self._keep_features)
        self.feature_dim = decision.in_features
        self.projection_scale = decision.in_features**-0.5 if equalized_lr else 1.0
        if prior_dim > 0:
            self.prior_projection = PriorProjection(
                prior_dim,
                decision.in_features,
                with_spectral_norm=with_spectral_norm and not equalized_lr,
                sn_style=sn_style,
                sn_eps=sn_eps,
                equalized_lr=equalized_lr,
            )

    def _keep_features(self, decision: nn.Module, args: tuple) -> None:
        self._features = args[0]

    def forward(  # type: ignore[override]
        self, img: Tensor, prior: Tensor | None = None, augment: bool = True
    ) -> Tensor:
        """Score images (N, 3, H, W) in [-1, 1] against normalized priors (N, D); return (N, 1).

        Raises:
            ValueError: The prior is missing or of another shape.
        """
        if self.prior_dim > 0:
            check_prior(prior, self.prior_dim, len(img), type(self).__name__)
        score = widen(self.discriminator(self.prepare(img, augment)).view(len(img), 1))
        features, self._features = self._features, None
        if self.prior_dim == 0:
            return score
        projection = (self.prior_projection(prior) * features).sum(dim=1, keepdim=True)
        return score + self.projection_scale * projection

    def extract_features(self, img: Tensor) -> Tensor:
        """Compute D_f(x), (N, F), of images (N, 3, H, W) in [-1, 1]."""
        self.discriminator(img)
        features, self._features = self._features, None
        assert features is not None
        return features


@MODELS.register_module()
class NarrowSNGANDiscResBlock(SNGANDiscResBlock):
    """mmagic's SNGAN block with as many channels between its convolutions as it takes in.

    The blocks of github.com/pfnet-research/sngan_projection (dis_models/resblocks.py) are like
    this; mmagic's have as many as they give out. A discriminator that is to start from pfnet's
    weights has ``blocks_cfg=dict(type='NarrowSNGANDiscResBlock')``.

    Args:
        in_channels (int): Channels of the input, and between the convolutions.
        out_channels (int): Channels of the output.
        **kwargs: Further arguments of mmagic's ``SNGANDiscResBlock``.
    """

    def __init__(self, in_channels: int, out_channels: int, **kwargs: object) -> None:
        super().__init__(in_channels, out_channels, hidden_channels=in_channels, **kwargs)


def find_augmentation(disc: Callable[..., Tensor]) -> nn.Module | None:
    """Return the augmentation of the discriminator behind a function of images."""
    network = getattr(disc, 'func', disc)  # labels or priors may be bound to it
    modules = network.modules() if isinstance(network, nn.Module) else ()
    wrappers = (module for module in modules if isinstance(module, DiscriminatorWrapper))
    return next((wrapper.augmentation for wrapper in wrappers), None)


def _build(part: Any) -> Any:
    return MODELS.build(part) if isinstance(part, dict) else part


def _build_unconditional(discriminator: dict | nn.Module) -> nn.Module:
    if isinstance(discriminator, dict) and 'num_classes' in discriminator:
        discriminator = {**discriminator, 'num_classes': 0}
    network: nn.Module = _build(discriminator)
    num_classes = getattr(network, 'num_classes', None)
    if num_classes:
        raise ValueError(
            f'{type(network).__name__} is built for {num_classes} classes; '
            'PriorProjectionDiscriminator needs it with num_classes=0, since the prior replaces '
            'the label'
        )
    return network


def _find_decision(discriminator: nn.Module) -> nn.Linear:
    leaves = [
        module
        for module in discriminator.modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    last = leaves[-1] if leaves else None
    if not isinstance(last, nn.Linear) or last.out_features != 1:
        raise ValueError(
            f'{type(discriminator).__name__} ends in {last}; PriorProjectionDiscriminator needs a '
            'discriminator whose last layer is linear with one output, such as '
            'BigGANDiscriminator, ProjDiscriminator or StyleGAN2Discriminator'
        )
    return last
