"""R1 as an auxiliary loss that any GAN of this package can be given.

mmagic's ``BaseGAN`` takes such losses by ``loss_config.disc_auxiliary_loss``, and names this one in
its documentation, but has only the function.
"""

from typing import Any

from mmagic.models.losses import r1_gradient_penalty_loss
from mmagic.registry import MODELS
from torch import Tensor

from .lazy_loss import LazyLoss


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
