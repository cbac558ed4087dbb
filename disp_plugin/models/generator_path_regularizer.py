"""StyleGAN2's path-length regularization as an auxiliary loss.

mmagic's ``BaseGAN`` takes such losses by ``loss_config.gen_auxiliary_loss``, and names this one in
its documentation, but has only the function.
"""

from typing import Any

import torch
from mmagic.models.losses import gen_path_regularizer
from mmagic.registry import MODELS
from mmengine.dist import all_reduce
from torch import Tensor

from disp_plugin.distributed import own_random_numbers

from .lazy_loss import LazyLoss


@MODELS.register_module()
class GeneratorPathRegularizer(LazyLoss):
    """StyleGAN2's path-length regularization; by mmagic's ``gen_path_regularizer``.

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

        The gradient inside is not scaled in mixed precision: mmagic's function fails with a scaler
        (gan_loss.py:550 takes item 0 of a number), and the official code needs none.

        Args:
            outputs (dict): Uses ``gen``, a function that returns images with their latents, and
                ``batch_size``.

        Returns:
            Tensor: A scalar.
        """
        with own_random_numbers(self.mean_path_length.device):
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

    @staticmethod
    def check_generator(generator: Any) -> None:
        """Refuse a generator without styles.

        Args:
            generator (nn.Module): The generator.

        Raises:
            ValueError: It is no StyleGAN.
        """
        if not hasattr(generator, 'style_mapping'):
            raise ValueError(
                f'GeneratorPathRegularizer measures how images change with styles, and '
                f'{type(generator).__name__} has none; leave it out of gen_losses'
            )
