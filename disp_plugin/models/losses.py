"""Auxiliary losses of a GAN: gradient penalties that are computed at some steps only.

mmagic's ``BaseGAN`` names both penalties in its documentation, but has only their functions.
"""

import functools
from collections.abc import Callable
from typing import TypedDict

import torch
from mmagic.models.losses import gen_path_regularizer, r1_gradient_penalty_loss
from mmagic.registry import MODELS
from mmengine.dist import all_reduce
from torch import Tensor, nn

from disp_plugin.distributed import own_random_numbers

from .discriminators import find_augmentation
from .float32 import without_autocast
from .generators import has_styles


class StepOutputs(TypedDict, total=False):
    """Inputs and outputs of a training step, for auxiliary losses.

    Images are (N, 3, H, W) in [-1, 1], scores (N, 1). ``gen`` and ``disc`` have the step's priors
    bound; ``step`` counts the updates of the network so far.
    """

    gen: Callable[..., Tensor | dict]
    disc: Callable[..., Tensor]
    batch_size: int
    step: int
    fake_imgs: Tensor
    # in a step of D
    real_imgs: Tensor
    disc_pred_real: Tensor
    disc_pred_fake: Tensor
    # in a step of G
    disc_pred_fake_g: Tensor


class LazyLoss(nn.Module):
    """An auxiliary loss with a weight and an interval.

    Args:
        loss_weight (float): Factor of the loss.
        interval (int): The loss is computed at the updates 0, interval, 2 x interval, ... only.

    Raises:
        ValueError: ``interval`` is below 1.
    """

    name = ''

    def __init__(self, loss_weight: float, interval: int) -> None:
        super().__init__()
        if interval < 1:
            raise ValueError(
                f'interval of {type(self).__name__} is {interval}; it must be 1 or more'
            )
        self.loss_weight = loss_weight
        self.interval = interval

    def loss_name(self) -> str:
        """Name the loss in the log."""
        return self.name

    def check_generator(self, generator: nn.Module) -> None:
        """Raise ValueError if the loss cannot be computed for this generator."""

    def forward(self, outputs: StepOutputs) -> Tensor | None:
        """Compute the weighted loss, a scalar; None where it is not due."""
        if outputs['step'] % self.interval or not self.loss_weight:
            return None
        return self.loss_weight * self.compute(outputs)

    def compute(self, outputs: StepOutputs) -> Tensor:
        """Compute the loss without its weight, a scalar."""
        raise NotImplementedError


@MODELS.register_module()
class R1GradientPenalty(LazyLoss):
    r"""R1, the squared gradient of D at real images: :math:`E_x[|\nabla_x D(x, C(x))|^2]`.

    Mescheder et al. 2018 (arXiv 1801.04406); by mmagic's ``r1_gradient_penalty_loss``.

    Args:
        loss_weight (float): gamma / 2 x interval in StyleGAN2. Defaults to 80.
        interval (int): Steps of D from one penalty to the next. Defaults to 16.
        norm_mode (str): 'HWC', the sum over an image, or 'pixel', the mean over its pixels.
            Defaults to 'HWC'.
        on_augmented (bool): Whether the gradient is that at the image as the discriminator's
            augmentation leaves it, drawn anew, as in DiffAugment's code for CIFAR
            (``ns_r1_DiffAugment``), and not that at the image itself. Defaults to False.

    Raises:
        ValueError: ``norm_mode`` is another.
    """

    name = 'loss_r1_gp'

    def __init__(
        self,
        loss_weight: float = 80.0,
        interval: int = 16,
        norm_mode: str = 'HWC',
        on_augmented: bool = False,
    ) -> None:
        super().__init__(loss_weight, interval)
        if norm_mode not in ('HWC', 'pixel'):
            raise ValueError(f"norm_mode of R1 is {norm_mode!r}; it must be 'HWC' or 'pixel'")
        self.norm_mode = norm_mode
        self.on_augmented = on_augmented

    def compute(self, outputs: StepOutputs) -> Tensor:
        """Compute R1 at the real images, in float32: D is differentiated twice."""
        disc, img = outputs['disc'], outputs['real_imgs']
        augmentation = find_augmentation(disc) if self.on_augmented else None
        if augmentation is not None:
            disc, img = functools.partial(disc, augment=False), augmentation(img)
        with without_autocast(img.device.type):
            return r1_gradient_penalty_loss(disc, img, norm_mode=self.norm_mode)


@MODELS.register_module()
class GeneratorPathRegularizer(LazyLoss):
    """StyleGAN2's path-length regularization; by mmagic's ``gen_path_regularizer``.

    The running mean of path lengths is a buffer, so that it is in the checkpoint.

    Args:
        loss_weight (float): 2 x interval in StyleGAN2. Defaults to 8.
        interval (int): Steps of G from one penalty to the next. Defaults to 4.
        pl_batch_shrink (int): The batch is divided by this, to save memory. Defaults to 2.
        decay (float): Weight of the new value in the running mean. Defaults to 0.01.
    """

    name = 'loss_path_regular'
    mean_path_length: Tensor

    def __init__(
        self,
        loss_weight: float = 8.0,
        interval: int = 4,
        pl_batch_shrink: int = 2,
        decay: float = 0.01,
    ) -> None:
        super().__init__(loss_weight, interval)
        self.pl_batch_shrink = pl_batch_shrink
        self.decay = decay
        self.register_buffer('mean_path_length', torch.zeros(()))

    def compute(self, outputs: StepOutputs) -> Tensor:
        """Compute the penalty, in float32, and update the running mean."""
        device = self.mean_path_length.device
        with own_random_numbers(device), without_autocast(device.type):
            penalty, mean, _ = gen_path_regularizer(
                outputs['gen'],
                outputs['batch_size'],
                self.mean_path_length,
                pl_batch_shrink=self.pl_batch_shrink,
                decay=self.decay,
            )
        all_reduce(mean, 'mean')
        # A loss scaler skips a step that overflows, but a mean would stay spoilt for good.
        self.mean_path_length.copy_(torch.where(mean.isfinite(), mean, self.mean_path_length))
        return penalty

    def check_generator(self, generator: nn.Module) -> None:
        """Raise ValueError if the generator has no styles."""
        if not has_styles(generator):
            raise ValueError(
                f'GeneratorPathRegularizer measures how images change with styles, and '
                f'{type(generator).__name__} has none; leave it out of model.gen_losses'
            )


def list_losses(losses: dict[str, dict | None] | None, name: str) -> list[dict]:
    """List the configs of named losses but None; raise ValueError if one has no ``type``."""
    for key, loss in (losses or {}).items():
        if loss is not None and 'type' not in loss:
            raise ValueError(f"model.{name}.{key} has no 'type'; give it the type of a loss")
    return [dict(loss) for loss in (losses or {}).values() if loss is not None]
