"""StyleGAN2's regularisers as auxiliary losses that any GAN of this package can be given.

mmagic's ``BaseGAN`` takes ``loss_config.disc_auxiliary_loss`` and ``gen_auxiliary_loss``, and names
these two in its documentation, but has only the functions.
"""

from typing import Any

import torch
from mmagic.models.losses import gen_path_regularizer, r1_gradient_penalty_loss
from mmagic.registry import MODELS
from mmengine.dist import all_reduce
from torch import Tensor, nn


class LazyLoss(nn.Module):
    """What both share: a weight and an interval.

    Args:
        loss_weight (float): Factor of the loss.
        interval (int): Computed at the steps 0, interval, 2 x interval, ... only.

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
        """Name the loss in the log, as mmagic asks.

        Returns:
            str: The name.
        """
        return self.name

    def forward(self, outputs: dict[str, Any]) -> Tensor | None:
        """Compute the loss, where it is due.

        Args:
            outputs (dict): What a training step has at hand; see :class:`DISPGAN`.

        Returns:
            Tensor | None: The weighted loss, a scalar; None where it is not due.
        """
        if outputs['step'] % self.interval or not self.loss_weight:
            return None
        return self.loss_weight * self.compute(outputs)

    def compute(self, outputs: dict[str, Any]) -> Tensor:
        """Compute the loss without its weight.

        Args:
            outputs (dict): As in :meth:`forward`.

        Returns:
            Tensor: A scalar.
        """
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

    Raises:
        ValueError: ``norm_mode`` is another.
    """

    name = 'loss_r1_gp'

    def __init__(
        self, loss_weight: float = 80.0, interval: int = 16, norm_mode: str = 'HWC'
    ) -> None:
        super().__init__(loss_weight, interval)
        if norm_mode not in ('HWC', 'pixel'):
            raise ValueError(f"norm_mode of R1 is {norm_mode!r}; it must be 'HWC' or 'pixel'")
        self.norm_mode = norm_mode

    def compute(self, outputs: dict[str, Any]) -> Tensor:
        """Compute R1.

        Args:
            outputs (dict): Uses ``disc``, a function of images, ``real_imgs`` (N, 3, H, W) and
                ``loss_scaler``.

        Returns:
            Tensor: A scalar.
        """
        return r1_gradient_penalty_loss(
            outputs['disc'],
            outputs['real_imgs'],
            norm_mode=self.norm_mode,
            loss_scaler=outputs.get('loss_scaler'),
        )


@MODELS.register_module()
class GeneratorPathRegularizer(LazyLoss):
    """StyleGAN2's path-length regularisation; by mmagic's ``gen_path_regularizer``.

    The running mean of path lengths is a buffer, so that it is in the checkpoint.

    Args:
        loss_weight (float): 2 x interval in StyleGAN2. Defaults to 8.
        interval (int): Steps of G from one penalty to the next. Defaults to 4.
        pl_batch_shrink (int): The batch is divided by this, to save memory. Defaults to 2.
        decay (float): Share of the new value in the running mean. Defaults to 0.01.
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

    def compute(self, outputs: dict[str, Any]) -> Tensor:
        """Compute the penalty and move the running mean.

        Args:
            outputs (dict): Uses ``gen``, a function that returns images with their latents,
                ``batch_size`` and ``loss_scaler``.

        Returns:
            Tensor: A scalar.
        """
        penalty, mean, _ = gen_path_regularizer(
            outputs['gen'],
            outputs['batch_size'],
            self.mean_path_length,
            pl_batch_shrink=self.pl_batch_shrink,
            decay=self.decay,
            loss_scaler=outputs.get('loss_scaler'),
        )
        all_reduce(mean, 'mean')
        self.mean_path_length.copy_(mean)
        return penalty
