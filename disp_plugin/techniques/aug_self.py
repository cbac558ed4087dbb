"""AugSelf-GAN: the discriminator also tells by what parameters an image was augmented."""

from typing import Any

import torch
from mmagic.registry import MODELS
from torch import Tensor
from torch.nn import functional

from disp_plugin.models.discriminators import PriorProjectionDiscriminator
from disp_plugin.models.losses import LazyLoss, StepOutputs

from .diff_augment import DiffAugment
from .rotation import build_head


@MODELS.register_module()
class AugSelfDiscriminator(PriorProjectionDiscriminator):
    """A discriminator with a second head, which tells the parameters of DiffAugment.

    The head is linear in D_f(T(x)) - D_f(x).

    Args:
        *args: Those of :class:`PriorProjectionDiscriminator`; the head is normalized as D_emb.
        **kwargs: Likewise; ``augmentation`` must be a :class:`DiffAugment`.

    Raises:
        ValueError: The augmentation is another, or there is none.
    """

    augmentation: DiffAugment

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(self.augmentation, DiffAugment):
            raise ValueError(
                f'augmentation of AugSelfDiscriminator is a {type(self.augmentation).__name__}, '
                "but it tells the parameters of dict(type='DiffAugment') only; give that"
            )
        self.augmentation_head = build_head(self, sum(self.augmentation.num_draws), kwargs)

    def forward(  # type: ignore[override]
        self,
        img: Tensor,
        prior: Tensor | None = None,
        augment: bool = True,
        draws: Tensor | None = None,
    ) -> Tensor:
        """Score images as the parent does, (N, 1), or tell the ``draws`` (N, P) they are given.

        Raises:
            ValueError: The prior is missing or of another shape; draws are told without one.
        """
        if draws is None:
            return super().forward(img, prior, augment)
        img = self.prepare(img, augment=False)
        augmented = self.extract_features(self.augmentation.transform(img, draws))
        return self.augmentation_head(augmented - self.extract_features(img))


@MODELS.register_module()
class AugSelfLoss(LazyLoss):
    r"""Mean squared error of the augmentation's parameters w that D tells.

    Hou et al. 2023 (arXiv 2205.15677), with the numbers of github.com/liang-hou/augself-gan. D
    tells w of real images and -w of fake ones; G is taught w and away from -w,

    .. math::
        L_D &= E_x |Q(T_w(x), x) - w|^2 + E_z |Q(T_w(G(z)), G(z)) + w|^2 \\
        L_G &= E_z |Q(T_w(G(z)), G(z)) - w|^2 - E_z |Q(T_w(G(z)), G(z)) + w|^2.

    Each operation of the augmentation has a mean of its own, and these are summed. w is drawn anew,
    not that of the images scored, which costs a pass of D more than the published code.

    Args:
        network (str): 'disc' in ``model.disc_losses``, 'gen' in ``model.gen_losses``.
        loss_weight (float): Factor of the loss. Defaults to 1.0.
        interval (int): Steps from one computation to the next. Defaults to 1.

    Raises:
        ValueError: ``network`` is neither, or the discriminator has no head for augmentations.
    """

    def __init__(self, network: str, loss_weight: float = 1.0, interval: int = 1) -> None:
        super().__init__(loss_weight, interval)
        if network not in ('disc', 'gen'):
            raise ValueError(f"network of AugSelfLoss is {network!r}; it must be 'disc' or 'gen'")
        self.network = network
        self.name = f'loss_augself_{network}'

    def compute(self, outputs: StepOutputs) -> Tensor:
        """Compute the loss without its weight, a scalar."""
        disc = getattr(outputs['disc'], 'func', outputs['disc'])
        disc = getattr(disc, 'module', disc)
        if not isinstance(disc, AugSelfDiscriminator):
            raise ValueError(
                f'AugSelfLoss needs an AugSelfDiscriminator, but the discriminator is a '
                f'{type(disc).__name__}; set model.discriminator.type'
            )

        def tell(img: Tensor) -> tuple[Tensor, Tensor]:
            draws = disc.augmentation.draw(img)
            parameters = read_parameters(disc.augmentation, draws, img.shape[2:])
            return outputs['disc'](img, draws=draws), parameters

        def error(told: Tensor, parameters: Tensor) -> Tensor:
            sizes = disc.augmentation.num_draws
            pairs = zip(told.split(sizes, 1), parameters.split(sizes, 1), strict=True)
            return torch.stack([functional.mse_loss(*pair) for pair in pairs]).sum()

        told, parameters = tell(outputs['fake_imgs'])
        if self.network == 'gen':
            return error(told, parameters) - error(told, -parameters)
        return error(told, -parameters) + error(*tell(outputs['real_imgs']))


def read_parameters(augmentation: DiffAugment, draws: Tensor, sides: torch.Size) -> Tensor:
    """Turn draws (N, P) into parameters in [0, 1]; those of whole pixels count these."""
    columns: list[Tensor] = []
    parts = draws.split(augmentation.num_draws, dim=1)
    for name, part in zip(augmentation.operations, parts, strict=True):
        for side, draw in zip((*sides, 0), part.unbind(1), strict=False):
            reach = int(side * augmentation.translation_ratio + 0.5)
            size = int(side * augmentation.cutout_ratio + 0.5)
            counts = {'translation': 2 * reach + 1, 'cutout': side + 1 - size % 2, 'flip': 2}
            count = counts.get(name)
            columns.append(draw if not count else (draw * count).floor() / max(count - 1, 1))
    return torch.stack(columns, dim=1)
