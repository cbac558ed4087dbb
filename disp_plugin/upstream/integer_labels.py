"""Class labels that reach the discriminator as (N, 1).

Symptom: none is printed. The stock class-conditional BigGAN, SAGAN and SNGAN train on real images
whose pairing with their labels is destroyed: the real branch of the discriminator returns every
image's features projected on every label, in a broadcast shape such as (16, 16, 64), the fake
branch (16, 1).
Cause: mmagic/structures/data_sample.py:39 makes a tensor of shape (1,) of an integer label, :306
stacks them to (N, 1), and mmagic/models/base_models/base_conditional_gan.py:88 passes that on,
where the discriminator's embedding expects (N,).
Upstream: https://github.com/open-mmlab/mmagic (1.2.0).
Delete when: ``BaseConditionalGAN.data_sample_to_label`` returns integer labels as (N,).

Float labels are vectors and stay as they are.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from disp_plugin.upstream.repair import Repair, host_module

MODULE = 'mmagic.models.base_models.base_conditional_gan'


def is_needed() -> bool:
    """Tell whether integer labels come out as (N, 1)."""
    import torch

    gan: Any = host_module(MODULE).BaseConditionalGAN
    probe = SimpleNamespace(
        keys=lambda: ['gt_label'], gt_label=SimpleNamespace(label=torch.zeros(2, 1).long())
    )
    return gan.data_sample_to_label(None, probe).ndim == 2


def apply() -> None:
    """Flatten integer labels of shape (N, 1) where the GAN takes them from its data samples."""
    gan: Any = host_module(MODULE).BaseConditionalGAN
    read: Callable[..., Any] = gan.data_sample_to_label

    def data_sample_to_label(self: Any, data_sample: Any) -> Any:
        """Get the labels of a batch: integers as (N,), vectors as (N, D), or None."""
        label = read(self, data_sample)
        if label is None or label.is_floating_point() or label.is_complex():
            return label
        return label.flatten() if label.ndim == 2 and label.shape[1] == 1 else label

    gan.data_sample_to_label = data_sample_to_label


REPAIR = Repair(
    name='integer-labels',
    module=MODULE,
    summary='real images lose the pairing with their class labels, silently: labels are (N, 1)',
    until='BaseConditionalGAN.data_sample_to_label returns integer labels as (N,)',
    is_needed=is_needed,
    apply=apply,
)
