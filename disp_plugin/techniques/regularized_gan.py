"""mmagic's own GANs with auxiliary losses of the discriminator, and with adaptive augmentation.

Of mmagic's GANs, BigGAN and SNGAN take no ``loss_config`` and StyleGAN2 reads other fields of it
than ``BaseGAN`` documents; the first two leave no scores for adaptive augmentation.
"""

import functools
from typing import Any, ClassVar

from mmagic.models.base_models import BaseGAN
from mmagic.models.editors.biggan import BigGAN
from mmagic.models.editors.sagan import SAGAN
from mmagic.models.editors.stylegan2 import StyleGAN2
from mmagic.registry import MODELS
from mmengine import MessageHub
from torch import Tensor


class _Regularized(BaseGAN):
    """The discriminator's step of a host's class that is named after it, with more losses."""

    # Fields of loss_config that are read, here or by the host.
    FIELDS: ClassVar[tuple[str, ...]] = ('disc_auxiliary_loss',)

    def _init_loss(self, loss_config: dict | None = None) -> None:
        unread = [name for name in loss_config or {} if name not in self.FIELDS]
        if unread:
            raise ValueError(
                f'loss_config of {type(self).__name__} has no field {", ".join(unread)}; it has '
                f'{", ".join(self.FIELDS)}'
            )
        super()._init_loss(loss_config)

    def train_discriminator(
        self, inputs: dict, data_samples: Any, optimizer_wrapper: Any
    ) -> dict[str, Tensor]:
        """Update the discriminator once, as the host does.

        Args:
            inputs (dict): As in the host.
            data_samples (DataSample): As in the host.
            optimizer_wrapper (OptimWrapper): The discriminator's.

        Returns:
            dict[str, Tensor]: What is logged.
        """
        hub = MessageHub.get_current_instance()
        iteration = hub.get_info('iter') or 0
        label = None
        if hasattr(self, 'data_sample_to_label'):
            label = self.data_sample_to_label(data_samples)
        bound = {} if label is None else {'label': label}
        self._step_outputs = dict(
            gen=self.generator,
            disc=functools.partial(self.discriminator, **bound),
            real_imgs=data_samples.gt_img,
            batch_size=len(data_samples.gt_img),
            loss_scaler=getattr(optimizer_wrapper, 'loss_scaler', None),
            step=iteration // optimizer_wrapper._accumulative_counts,
        )
        try:
            return super().train_discriminator(inputs, data_samples, optimizer_wrapper)
        finally:
            del self._step_outputs

    def disc_loss(
        self, disc_pred_fake: Tensor, disc_pred_real: Tensor, *args: Any
    ) -> tuple[Tensor, dict]:
        """Add the auxiliary losses to the host's, and hand the scores over.

        Args:
            disc_pred_fake (Tensor): (N, 1) scores of fake images.
            disc_pred_real (Tensor): (N, 1) scores of real images.
            *args: What else the host takes.

        Returns:
            tuple[Tensor, dict]: The sum of losses, and what is logged.
        """
        host: Any = super()
        loss, log_vars = host.disc_loss(disc_pred_fake, disc_pred_real, *args)
        if not isinstance(self, StyleGAN2):  # which does so itself
            hub = MessageHub.get_current_instance()
            hub.update_info('disc_pred_real', disc_pred_real.detach(), resumed=False)
        outputs = dict(
            self._step_outputs, disc_pred_fake=disc_pred_fake, disc_pred_real=disc_pred_real
        )
        for auxiliary in self.disc_auxiliary_losses or ():
            value = auxiliary(outputs)
            if value is not None:
                name = auxiliary.loss_name()
                log_vars[name] = log_vars.get(name, 0) + value
                loss = loss + value
        log_vars['loss'] = loss
        return loss, log_vars


class _Conditional(_Regularized):
    def __init__(self, *args: Any, loss_config: dict | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._init_loss(loss_config)


@MODELS.register_module()
class RegularizedBigGAN(_Conditional, BigGAN):
    """mmagic's BigGAN with ``loss_config.disc_auxiliary_loss``, as for adaptive augmentation.

    Auxiliary losses find the labels of the real images bound to the discriminator.

    Args:
        *args: Those of mmagic's ``BigGAN``.
        loss_config (dict, optional): ``disc_auxiliary_loss``: a config of an auxiliary loss, or a
            list of them. Defaults to None.
        **kwargs: Those of mmagic's ``BigGAN``.

    Raises:
        ValueError: ``loss_config`` has a field that nothing reads.
    """


@MODELS.register_module()
class RegularizedSNGAN(_Conditional, SAGAN):
    """mmagic's SNGAN, projection GAN or SAGAN; see :class:`RegularizedBigGAN`.

    Args:
        *args: Those of mmagic's ``SAGAN``.
        loss_config (dict, optional): As in :class:`RegularizedBigGAN`. Defaults to None.
        **kwargs: Those of mmagic's ``SAGAN``.

    Raises:
        ValueError: ``loss_config`` has a field that nothing reads.
    """


@MODELS.register_module()
class RegularizedStyleGAN2(_Regularized, StyleGAN2):
    """mmagic's StyleGAN2; see :class:`RegularizedBigGAN`.

    Args:
        *args: Those of mmagic's ``StyleGAN2``.
        loss_config (dict, optional): mmagic's fields for StyleGAN2, and ``disc_auxiliary_loss``.
            Defaults to None.
        **kwargs: Those of mmagic's ``StyleGAN2``.

    Raises:
        ValueError: ``loss_config`` has a field that nothing reads.
    """

    FIELDS = (
        *('disc_auxiliary_loss', 'r1_loss_weight', 'r1_interval', 'norm_mode', 'r1_use_apex_amp'),
        *('scale_r1_loss', 'g_reg_interval', 'g_reg_weight', 'pl_batch_shrink'),
        'g_reg_use_apex_amp',
    )

    def __init__(self, *args: Any, loss_config: dict | None = None, **kwargs: Any) -> None:
        super().__init__(*args, loss_config=loss_config or {}, **kwargs)
        self._init_loss(loss_config)
