"""Any discriminator of mmagic with the projection of a prior added to its score."""

from typing import Any

from mmagic.registry import MODELS
from torch import Tensor, nn

from .discriminator_wrapper import DiscriminatorWrapper
from .prior_projection import PriorProjection, check_prior


@MODELS.register_module()
class PriorProjectionDiscriminator(DiscriminatorWrapper):
    r"""Score an image against a prior: equation (3) of the method.

    .. math:: D(x, p) = D_{emb}(p) \cdot D_f(x) + D_l(D_f(x))

    The wrapped discriminator computes D_l(D_f(x)); its last layer D_l must be linear to one number,
    and D_f(x) is what enters that layer. Checkpoints of mmagic load into the wrapped part.

    Args:
        discriminator (dict | nn.Module): Any unconditional discriminator of mmagic, or its config.
            ``num_classes`` in a config is set to 0: the prior takes the label's place.
        prior_dim (int): D, length of a prior, or 0 for the unconditional baseline: the score is
            then the wrapped discriminator's.
        with_spectral_norm (bool): Whether D_emb is spectrally normalized, as mmagic's own label
            projection is. Defaults to True.
        sn_style (str): 'torch' or 'ajbrock'. Defaults to 'torch'.
        sn_eps (float): Epsilon of the spectral norm. Defaults to 1e-6.
        equalized_lr (bool): Whether D_emb has StyleGAN2's equalized learning rate in the place of
            spectral norm; the projection is then divided by sqrt(F), as D_l is. Defaults to False.
        augmentation (dict | nn.Module, optional): As in :class:`DiscriminatorWrapper`.
            Defaults to None.
        freeze (dict | FreezeD, optional): As in :class:`DiscriminatorWrapper`. D_emb is never
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
        freeze: Any = None,
        num_classes: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        network = _build_unconditional(discriminator)
        super().__init__(network, augmentation, freeze, init_cfg=init_cfg)
        self.prior_dim = prior_dim
        self._features: Tensor | None = None
        decision = _find_decision(self.discriminator)
        decision.register_forward_pre_hook(self._keep_features)
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
        """Score images against priors.

        Args:
            img (Tensor): (N, 3, H, W) images in [-1, 1].
            prior (Tensor, optional): (N, D) normalized priors. Defaults to None, which is right
                only with ``prior_dim=0``.
            augment (bool): Whether images are augmented in training. Defaults to True.

        Returns:
            Tensor: Scores, (N, 1).

        Raises:
            ValueError: The prior is missing or of another shape.
        """
        if self.prior_dim > 0:
            check_prior(prior, self.prior_dim, len(img), type(self).__name__)
        score = self.discriminator(self.prepare(img, augment)).view(len(img), 1)
        features, self._features = self._features, None
        if self.prior_dim == 0:
            return score
        projection = (self.prior_projection(prior) * features).sum(dim=1, keepdim=True)
        return score + self.projection_scale * projection

    def extract_features(self, img: Tensor) -> Tensor:
        """Compute D_f(x), what enters the last layer of the wrapped discriminator.

        Args:
            img (Tensor): (N, 3, H, W) images in [-1, 1].

        Returns:
            Tensor: (N, F).
        """
        self.discriminator(img)
        features, self._features = self._features, None
        assert features is not None
        return features


def _build_unconditional(discriminator: dict | nn.Module) -> nn.Module:
    if isinstance(discriminator, dict):
        overrides = {'num_classes': 0} if 'num_classes' in discriminator else {}
        network: nn.Module = MODELS.build({**discriminator, **overrides})
    else:
        network = discriminator
    num_classes = getattr(network, 'num_classes', None)
    if num_classes:
        raise ValueError(
            f'{type(network).__name__} is built for {num_classes} classes; '
            'PriorProjectionDiscriminator needs it with num_classes=0, the prior takes the '
            "label's place"
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
