"""Self-supervised GAN (SSGAN): the discriminator also tells by how much an image is turned."""

from collections.abc import Mapping
from typing import Any

import torch
from mmagic.registry import MODELS
from torch import Tensor
from torch.nn import functional

from disp_plugin.models.discriminators import PriorProjectionDiscriminator
from disp_plugin.models.losses import LazyLoss, StepOutputs
from disp_plugin.models.prior_modules import PriorProjection

NUM_ROTATIONS = 4


@MODELS.register_module()
class RotationDiscriminator(PriorProjectionDiscriminator):
    """A discriminator with a second head on D_f(x), which tells quarter turns.

    Args:
        *args: Those of :class:`PriorProjectionDiscriminator`; the head is normalized as D_emb.
        **kwargs: Likewise.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rotation_head = build_head(self, NUM_ROTATIONS, kwargs)

    def forward(  # type: ignore[override]
        self,
        img: Tensor,
        prior: Tensor | None = None,
        augment: bool = True,
        tell_rotation: bool = False,
    ) -> Tensor:
        """Score images as the parent does, (N, 1), or return logits (N, 4) of their quarter turns.

        Raises:
            ValueError: The prior is missing or of another shape; turns are told without one.
        """
        if not tell_rotation:
            return super().forward(img, prior, augment)
        return self.rotation_head(self.extract_features(self.prepare(img, augment)))


def build_head(
    discriminator: PriorProjectionDiscriminator, num_outputs: int, options: Mapping[str, Any]
) -> PriorProjection:
    """Build a linear head on D_f(x), normalized as D_emb by the discriminator's options."""
    names = ('with_spectral_norm', 'sn_style', 'sn_eps', 'equalized_lr')
    given = {name: options[name] for name in names if name in options}
    given.setdefault('with_spectral_norm', not options.get('equalized_lr'))
    return PriorProjection(discriminator.feature_dim, num_outputs, bias=True, **given)


@MODELS.register_module()
class RotationLoss(LazyLoss):
    r"""Cross-entropy of the quarter turns that D tells, :math:`-E \log Q_D(R = r \mid x_r)`.

    Chen et al. 2019 (arXiv 1811.11212). A quarter of the batch is turned by all four angles, so
    that as many images are scored as the batch has (google/compare_gan, ``ssgan.py``, from which
    the weights 1 of D and 0.2 of G are, too).

    Args:
        images (str): 'real' in ``model.disc_losses``, 'fake' in ``model.gen_losses``.
        loss_weight (float): Factor of the loss. Defaults to 1.0.
        interval (int): Steps from one computation to the next. Defaults to 1.

    Raises:
        ValueError: ``images`` is neither, the discriminator has no head for turns, images are not
            square, or a batch has fewer than 4.
    """

    def __init__(self, images: str, loss_weight: float = 1.0, interval: int = 1) -> None:
        super().__init__(loss_weight, interval)
        if images not in ('real', 'fake'):
            raise ValueError(f"images of RotationLoss is {images!r}; it must be 'real' or 'fake'")
        self.images = images
        self.name = f'loss_rotation_{images}'

    def compute(self, outputs: StepOutputs) -> Tensor:
        """Compute the loss without its weight, a scalar."""
        network = getattr(outputs['disc'], 'func', outputs['disc'])
        if not isinstance(getattr(network, 'module', network), RotationDiscriminator):
            raise ValueError(
                f'RotationLoss needs a RotationDiscriminator, but the discriminator is a '
                f'{type(network).__name__}; set model.discriminator.type'
            )
        img = outputs['real_imgs'] if self.images == 'real' else outputs['fake_imgs']
        turned, labels = turn(img[: len(img) // NUM_ROTATIONS])
        return functional.cross_entropy(outputs['disc'](turned, tell_rotation=True), labels)


def turn(img: Tensor) -> tuple[Tensor, Tensor]:
    """Turn images (N, C, H, H) by 0 to 3 quarters, counterclockwise; return them and the labels.

    Raises:
        ValueError: There is no image, or they are not square.
    """
    if not len(img) or img.shape[2] != img.shape[3]:
        raise ValueError(
            f'RotationLoss turns a quarter of a batch of square images, but got {len(img)} of '
            f'{img.shape[3]}x{img.shape[2]} px; it needs batches of {NUM_ROTATIONS} images or more'
        )
    turned = torch.cat([torch.rot90(img, quarters, (2, 3)) for quarters in range(NUM_ROTATIONS)])
    labels = torch.arange(NUM_ROTATIONS, device=img.device).repeat_interleave(len(img))
    return turned, labels
