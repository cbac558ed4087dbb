"""``setattr`` where ``getattr`` is meant, in the discriminator's step of a conditional GAN.

Symptom: with AMP the conditional GANs die in the discriminator's step with "'NoneType' object has
no attribute 'scale'": the optimizer's loss scaler has been overwritten by None.
Cause: mmagic/models/base_models/base_conditional_gan.py:313,
``loss_scaler=setattr(optimizer_wrapper, 'loss_scaler', None)``.
Upstream: https://github.com/open-mmlab/mmagic (1.2.0).
Delete when: that line reads ``getattr``.
"""

from typing import Any

from disp_plugin.upstream.repair import Repair, host_module

MODULE = 'mmagic.models.base_models.base_conditional_gan'


def is_needed() -> bool:
    """Tell whether the discriminator's step calls ``setattr``."""
    gan: Any = host_module(MODULE).BaseConditionalGAN
    return 'setattr' in gan.train_discriminator.__code__.co_names


def apply() -> None:
    """Let the name ``setattr`` mean ``getattr`` in that module, which uses it nowhere else."""
    host_module(MODULE).__dict__['setattr'] = getattr


REPAIR = Repair(
    name='loss-scaler',
    module=MODULE,
    summary="conditional GANs cannot train with AMP: 'NoneType' object has no attribute 'scale'",
    until='base_conditional_gan.py reads getattr',
    is_needed=is_needed,
    apply=apply,
)
