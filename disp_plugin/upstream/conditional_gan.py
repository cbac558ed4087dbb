"""mmagic's class-conditional GANs: the shape of their labels, and their loss scaler.

**Labels.**
Symptom: none is printed. The stock class-conditional BigGAN, SAGAN and SNGAN train on real images
whose pairing with their labels is destroyed: the real branch of the discriminator returns every
image's features projected on every label, in a broadcast shape such as (16, 16, 64), the fake
branch (16, 1).
Cause: mmagic/structures/data_sample.py:39 makes a tensor of shape (1,) of an integer label, :306
stacks them to (N, 1), and mmagic/models/base_models/base_conditional_gan.py:88 passes that on,
where the discriminator's embedding expects (N,).
Delete when: ``BaseConditionalGAN.data_sample_to_label`` returns integer labels as (N,).

Float labels are vectors and stay as they are.

**Loss scaler.**
Symptom: with AMP the conditional GANs die in the discriminator's step with "'NoneType' object has
no attribute 'scale'": the optimizer's loss scaler has been overwritten by None.
Cause: mmagic/models/base_models/base_conditional_gan.py:313,
``loss_scaler=setattr(optimizer_wrapper, 'loss_scaler', None)``.
Delete when: that line reads ``getattr``.

Upstream: https://github.com/open-mmlab/mmagic (1.2.0).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from disp_plugin.upstream.patch import Patch, host_module

if TYPE_CHECKING:
    from torch import Tensor

MODULE = 'mmagic.models.base_models.base_conditional_gan'


def _flatten_labels() -> None:
    """Flatten integer labels of shape (N, 1) where the GAN takes them from its data samples."""
    gan = host_module(MODULE).BaseConditionalGAN
    read: Callable[..., Tensor | None] = gan.data_sample_to_label

    def data_sample_to_label(self: object, data_sample: object) -> 'Tensor | None':
        """Get the labels of a batch: integers as (N,), vectors as (N, D), or None."""
        label = read(self, data_sample)
        if label is None or label.is_floating_point() or label.is_complex():
            return label
        return label.flatten() if label.ndim == 2 and label.shape[1] == 1 else label

    gan.data_sample_to_label = data_sample_to_label


def _calls_setattr() -> bool:
    gan = host_module(MODULE).BaseConditionalGAN
    return 'setattr' in gan.train_discriminator.__code__.co_names


def _read_loss_scaler() -> None:
    """Let the name ``setattr`` mean ``getattr`` in that module, which uses it nowhere else."""
    vars(host_module(MODULE))['setattr'] = getattr


PATCHES = (
    Patch(
        name='integer-labels',
        module=MODULE,
        summary='real images lose the pairing with their class labels, silently: labels are (N, 1)',
        apply=_flatten_labels,
    ),
    Patch(
        name='loss-scaler',
        module=MODULE,
        summary="conditional GANs cannot train with AMP: 'NoneType' ... no attribute 'scale'",
        apply=_read_loss_scaler,
        is_needed=_calls_setattr,
    ),
)
