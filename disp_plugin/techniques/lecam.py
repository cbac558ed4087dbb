"""LeCam regularization: the discriminator's scores stay near moving averages of past ones."""

import torch
from mmagic.registry import MODELS
from mmengine.dist import all_reduce
from torch import Tensor

from disp_plugin.models.float32 import widen
from disp_plugin.models.losses import LazyLoss, StepOutputs


@MODELS.register_module()
class LeCamLoss(LazyLoss):
    r"""LeCam regularization of D's scores of real and fake images, for ``model.disc_losses``.

    Tseng et al. 2021 (arXiv 2104.03310), with a rectifier as in github.com/google/lecam-gan
    (biggan_cifar/losses.py),

    .. math:: E[\max(0, D(x) - \alpha_F)^2] + E[\max(0, \alpha_R - D(G(z)))^2],

    where :math:`\alpha_R` and :math:`\alpha_F` average the mean scores of real and fake images over
    updates, all processes' together. They are buffers, so they are in the checkpoint.

    Args:
        loss_weight (float): Factor of the loss: 0.3 for the hinge loss; 3e-7 (FFHQ) or 1e-6 (CIFAR)
            in the published runs of StyleGAN2. Defaults to 0.3.
        start (int): Updates of D without the loss, in which the averages are those of the last
            batch. Defaults to 1000.
        decay (float): Weight of the past in the averages: 0.9 in the published code of BigGAN, 0.99
            in that of StyleGAN2. Defaults to 0.9.

    Raises:
        ValueError: ``start`` is negative, or ``decay`` is not in [0, 1).
    """

    name = 'loss_lecam'
    mean_real: Tensor
    mean_fake: Tensor

    def __init__(self, loss_weight: float = 0.3, start: int = 1000, decay: float = 0.9) -> None:
        super().__init__(loss_weight, interval=1)
        if start < 0 or not 0 <= decay < 1:
            raise ValueError(
                f'LeCamLoss has start={start} and decay={decay}; start must be 0 or more, decay in '
                '[0, 1)'
            )
        self.start, self.decay = start, decay
        self.register_buffer('mean_real', torch.zeros(()))
        self.register_buffer('mean_fake', torch.zeros(()))

    def forward(self, outputs: StepOutputs) -> Tensor | None:
        """Update the averages; compute the weighted loss, a scalar, or None before its start."""
        if not self.loss_weight:
            return None
        past = self.decay if outputs['step'] + 1 >= self.start else 0.0
        scores = outputs['disc_pred_real'], outputs['disc_pred_fake']
        means = torch.stack([widen(score.detach()).mean() for score in scores])
        all_reduce(means, 'mean')
        for average, mean in zip((self.mean_real, self.mean_fake), means, strict=True):
            # a loss scaler skips a step that overflows, but an average would stay spoilt for good
            average.copy_(torch.where(mean.isfinite(), average.lerp(mean, 1 - past), average))
        return super().forward(outputs) if outputs['step'] >= self.start else None

    def compute(self, outputs: StepOutputs) -> Tensor:
        """Compute the loss without its weight, a scalar."""
        above = (widen(outputs['disc_pred_real']) - self.mean_fake).relu()
        below = (self.mean_real - widen(outputs['disc_pred_fake'])).relu()
        return above.square().mean() + below.square().mean()
