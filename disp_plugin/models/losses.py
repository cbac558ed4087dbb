"""Auxiliary losses of a GAN: gradient penalties that are computed at some steps only.

mmagic's ``BaseGAN`` names both penalties in its documentation, but has only their functions.
"""

import functools
import math
from collections.abc import Callable
from typing import TypedDict

import torch
from mmagic.models.losses import gen_path_regularizer, r1_gradient_penalty_loss
from mmagic.registry import MODELS
from mmengine.dist import all_reduce
from torch import Tensor, nn
from torch.nn import functional

from disp_plugin.distributed import own_random_numbers

from .discriminators import find_augmentation
from .float32 import widen, without_autocast
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
        weight = self.weight_at(outputs['step'])
        if outputs['step'] % self.interval or not weight:
            return None
        return weight * self.compute(outputs)

    def weight_at(self, step: int) -> float:
        """Return the factor of the loss after ``step`` updates."""
        return self.loss_weight

    def compute(self, outputs: StepOutputs) -> Tensor:
        """Compute the loss without its weight, a scalar."""
        raise NotImplementedError


@MODELS.register_module()
class R1GradientPenalty(LazyLoss):
    r"""R1, the squared gradient of D at real images: :math:`E_x[|\nabla_x D(x, C(x))|^2]`.

    Mescheder et al. 2018 (arXiv 1801.04406); by mmagic's ``r1_gradient_penalty_loss``. At fake
    images it is their R2.

    Args:
        loss_weight (float): gamma / 2 x interval in StyleGAN2. Defaults to 80.
        interval (int): Steps of D from one penalty to the next. Defaults to 16.
        norm_mode (str): 'HWC', the sum over an image, or 'pixel', the mean over its pixels.
            Defaults to 'HWC'.
        on_augmented (bool): Whether the gradient is that at the image as the discriminator's
            augmentation leaves it, drawn anew, as in DiffAugment's code for CIFAR
            (``ns_r1_DiffAugment``), and not that at the image itself. Defaults to False.
        images (str): 'real' for R1, 'fake' for R2. Defaults to 'real'.
        final_weight (float, optional): Where ``loss_weight`` falls along half a cosine, as in
            R3GAN's code. Defaults to None: it stays.
        decay_steps (int, optional): Updates of D after which it has. Defaults to None.

    Raises:
        ValueError: ``norm_mode`` or ``images`` is another, or only one of ``final_weight`` and
            ``decay_steps`` is given.
    """

    def __init__(
        self,
        loss_weight: float = 80.0,
        interval: int = 16,
        norm_mode: str = 'HWC',
        on_augmented: bool = False,
        images: str = 'real',
        final_weight: float | None = None,
        decay_steps: int | None = None,
    ) -> None:
        super().__init__(loss_weight, interval)
        if norm_mode not in ('HWC', 'pixel'):
            raise ValueError(f"norm_mode of R1 is {norm_mode!r}; it must be 'HWC' or 'pixel'")
        if images not in ('real', 'fake'):
            raise ValueError(
                f"images of R1GradientPenalty is {images!r}; it must be 'real' or 'fake'"
            )
        if (final_weight is None) != (not decay_steps):
            raise ValueError(
                f'R1GradientPenalty has final_weight={final_weight} and decay_steps={decay_steps}; '
                'a weight that falls needs both, decay_steps 1 or more'
            )
        self.norm_mode = norm_mode
        self.on_augmented = on_augmented
        self.images = images
        self.final_weight, self.decay_steps = final_weight, decay_steps
        self.name = 'loss_r1_gp' if images == 'real' else 'loss_r2_gp'

    def weight_at(self, step: int) -> float:
        """Return the factor of the loss after ``step`` updates."""
        if self.final_weight is None or not self.decay_steps:
            return self.loss_weight
        remaining = (1 + math.cos(math.pi * min(step / self.decay_steps, 1))) / 2
        return self.final_weight + remaining * (self.loss_weight - self.final_weight)

    def compute(self, outputs: StepOutputs) -> Tensor:
        """Compute the penalty at the images, in float32: D is differentiated twice."""
        disc = outputs['disc']
        img = outputs['real_imgs'] if self.images == 'real' else outputs['fake_imgs']
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


def pair_loss(disc_pred_real: Tensor, disc_pred_fake: Tensor, for_generator: bool) -> Tensor:
    r"""Compute the paired relativistic loss, :math:`E[softplus(D(G(z|C(x)), C(x)) - D(x, C(x)))]`.

    Jolicoeur-Martineau 2019 (arXiv 1807.00734, RpGAN) as in R3GAN (Huang et al. 2024, arXiv
    2501.05441): a real image's pair is the fake one of its own prior. For the generator the sign
    of the difference is the other.
    """
    margin = widen(disc_pred_real) - widen(disc_pred_fake)
    return functional.softplus(margin if for_generator else -margin).mean()


def list_losses(losses: dict[str, dict | None] | None, name: str) -> list[dict]:
    """List the configs of named losses but None; raise ValueError if one has no ``type``."""
    for key, loss in (losses or {}).items():
        if loss is not None and 'type' not in loss:
            raise ValueError(f"model.{name}.{key} has no 'type'; give it the type of a loss")
    return [dict(loss) for loss in (losses or {}).values() if loss is not None]
