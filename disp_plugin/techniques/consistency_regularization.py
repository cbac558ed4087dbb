"""Train the discriminator to score an image and its augmented view alike."""

from mmagic.models.editors.stylegan2.stylegan2_discriminator import ADAAug
from mmagic.registry import MODELS
from torch import Tensor, nn

from disp_plugin.models.discriminators import find_augmentation
from disp_plugin.models.losses import LazyLoss, StepOutputs


@MODELS.register_module()
class ConsistencyRegularization(LazyLoss):
    r"""Consistency regularization on real images: :math:`E_x[(D(T(x)) - D(x))^2]`.

    Zhang et al. 2020 (arXiv 1910.12027), for ``model.disc_losses``. Gradients go
    through both scores, as in the published code of DiffAugment for BigGAN (its train_fns.py and
    BigGAN.py), from which the default weight is too.

    Args:
        loss_weight (float): Factor of the loss. Defaults to 10.0.
        interval (int): Steps of D from one computation to the next. Defaults to 1.
        augmentation (dict | nn.Module, optional): T, or its config, as
            ``dict(type='DiffAugment', policy='flip,translation')`` of Zhang et al. If the
            discriminator augments images itself, T is applied to what it sees. Defaults to None:
            T is the discriminator's own augmentation, and x is scored without it.

    Raises:
        ValueError: The augmentation is adaptive, and nothing would change its probability here.
    """

    name = 'loss_consistency'

    def __init__(
        self,
        loss_weight: float = 10.0,
        interval: int = 1,
        augmentation: dict | nn.Module | None = None,
    ) -> None:
        super().__init__(loss_weight, interval)
        built = MODELS.build(augmentation) if isinstance(augmentation, dict) else augmentation
        if isinstance(built, ADAAug):
            raise ValueError(
                f'augmentation of ConsistencyRegularization is a {type(built).__name__}, whose '
                'probability nothing would change here; give it to model.discriminator instead'
            )
        self.augmentation: nn.Module | None = built

    def compute(self, outputs: StepOutputs) -> Tensor:
        """Compute the loss without its weight; raise ValueError if nothing augments images."""
        disc, seen, scores = outputs['disc'], outputs['real_imgs'], outputs['disc_pred_real']
        own = find_augmentation(disc)
        if self.augmentation is None:
            if own is None:
                raise ValueError(
                    'ConsistencyRegularization has no augmentation and the discriminator has none '
                    "either; give it augmentation=dict(type='DiffAugment', "
                    "policy='flip,translation'), or give model.discriminator an augmentation"
                )
            other = disc(seen, augment=False)
        elif own is None:
            other = disc(self.augmentation(seen))
        else:
            # D(T(x)) has been computed, but T(x) was not kept: draw another view
            seen = own(seen)
            scores = disc(seen, augment=False)
            other = disc(self.augmentation(seen), augment=False)
        return (scores - other).square().mean()
