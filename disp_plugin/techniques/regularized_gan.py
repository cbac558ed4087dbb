"""mmagic's own GANs with auxiliary losses of the discriminator, and with adaptive augmentation.

mmagic's BigGAN and SNGAN take no auxiliary losses, and leave no scores for adaptive augmentation;
its StyleGAN2 reads other fields of ``loss_config`` than ``BaseGAN`` documents.
"""

import functools
from typing import Any

from mmagic.models.base_models import BaseConditionalGAN, BaseGAN
from mmagic.models.editors.biggan import BigGAN
from mmagic.models.editors.sagan import SAGAN
from mmagic.models.editors.stylegan2 import StyleGAN2
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from mmengine import MessageHub
from mmengine.optim import OptimWrapper
from torch import Tensor

from disp_plugin.models.losses import StepOutputs, list_losses


class _Regularized(BaseGAN):
    """The discriminator's step of a host's class that is named after it, with more losses."""

    def __init__(
        self, *args: object, disc_losses: dict[str, dict | None] | None = None, **kwargs: object
    ) -> None:
        super().__init__(*args, **kwargs)
        self._init_loss(dict(disc_auxiliary_loss=list_losses(disc_losses, 'disc_losses')))

    def train_discriminator(
        self, inputs: dict, data_samples: DataSample, optimizer_wrapper: OptimWrapper
    ) -> dict[str, Tensor]:
        """Update the discriminator once, as the host does, with the auxiliary losses."""
        iteration = MessageHub.get_current_instance().get_info('iter') or 0
        label = None
        if isinstance(self, BaseConditionalGAN):
            label = self.data_sample_to_label(data_samples)
        bound = {} if label is None else {'label': label}
        self._step_outputs = StepOutputs(
            gen=self.generator,
            disc=functools.partial(self.discriminator, **bound),
            real_imgs=data_samples.gt_img,
            batch_size=len(data_samples.gt_img),
            step=iteration // optimizer_wrapper._accumulative_counts,
        )
        try:
            return super().train_discriminator(inputs, data_samples, optimizer_wrapper)
        finally:
            del self._step_outputs

    def disc_loss(
        self, disc_pred_fake: Tensor, disc_pred_real: Tensor, *args: object
    ) -> tuple[Tensor, dict]:
        """Add the auxiliary losses to the host's, and publish the scores (N, 1) of real images."""
        host: Any = super()
        loss, log_vars = host.disc_loss(disc_pred_fake, disc_pred_real, *args)
        if not isinstance(self, StyleGAN2):  # which does so itself
            hub = MessageHub.get_current_instance()
            hub.update_info('disc_pred_real', disc_pred_real.detach(), resumed=False)
        self._step_outputs['disc_pred_fake'] = disc_pred_fake
        self._step_outputs['disc_pred_real'] = disc_pred_real
        for auxiliary in self.disc_auxiliary_losses or ():
            value = auxiliary(self._step_outputs)
            if value is not None:
                name = auxiliary.loss_name()
                log_vars[name] = log_vars.get(name, 0) + value
                loss = loss + value
        log_vars['loss'] = loss
        return loss, log_vars


@MODELS.register_module()
class RegularizedBigGAN(_Regularized, BigGAN):
    """mmagic's BigGAN with further losses of the discriminator, and adaptive augmentation.

    Further losses find the labels of the real images bound to the discriminator.

    Args:
        *args: Those of mmagic's ``BigGAN``.
        disc_losses (dict[str, dict], optional): As in :class:`DISPGAN`. Defaults to None.
        **kwargs: Those of mmagic's ``BigGAN``.
    """


@MODELS.register_module()
class RegularizedSNGAN(_Regularized, SAGAN):
    """mmagic's SNGAN, projection GAN or SAGAN; see :class:`RegularizedBigGAN`.

    Args:
        *args: Those of mmagic's ``SAGAN``.
        disc_losses (dict[str, dict], optional): As in :class:`DISPGAN`. Defaults to None.
        **kwargs: Those of mmagic's ``SAGAN``.
    """


@MODELS.register_module()
class RegularizedStyleGAN2(_Regularized, StyleGAN2):
    """mmagic's StyleGAN2; see :class:`RegularizedBigGAN`.

    Args:
        *args: Those of mmagic's ``StyleGAN2``.
        disc_losses (dict[str, dict], optional): As in :class:`DISPGAN`. Defaults to None.
        **kwargs: Those of mmagic's ``StyleGAN2``, with its ``loss_config``.
    """
