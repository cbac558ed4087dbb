"""Inputs of a GAN to sample from for metrics: the same at every snapshot."""

from __future__ import annotations

import torch
from mmagic.models.base_models import BaseGAN
from mmagic.structures import DataSample
from mmengine.dist import get_rank, get_world_size

from disp_plugin.applications.sample_images import choose_sample_model, draw_inputs
from disp_plugin.models import DISPGAN

__all__ = ['make_batches']


def make_batches(
    gan: BaseGAN,
    num: int,
    batch_size: int,
    seed: int,
    sample_model: str | None,
    truncation: float | None,
) -> list[dict[str, object]]:
    """Draw the inputs of all images, the same whatever the processes and the batch.

    Of W processes, process r takes images r, r + W, ...; the last are repeated from further draws
    where their number is no multiple of W.

    Args:
        gan (BaseGAN): A GAN of mmagic or of this package.
        num (int): Images to sample, in all processes together.
        batch_size (int): Images at a time in each.
        seed (int): Of noise, priors and, of one of mmagic's class-conditional GANs, classes.
        sample_model (str | None): 'ema', 'orig', or None: 'ema' where there is one.
        truncation (float | None): As in ``tools/sample.py``.

    Returns:
        list[dict[str, object]]: Batches of this process for the GAN's ``test_step``.
    """
    if not num:
        return []
    own = slice(get_rank(), None, get_world_size())
    total = -(-num // get_world_size()) * get_world_size()
    noise, prior = draw_inputs(gan, total, seed)
    noise = noise[own]
    prior = None if prior is None else prior[own]
    labels = _draw_labels(gan, total, seed)[own]
    batches = []
    for start in range(0, len(noise), batch_size):
        part = slice(start, start + batch_size)
        inputs = {
            'noise': noise[part],
            'num_batches': len(noise[part]),
            'sample_model': choose_sample_model(gan, sample_model),
            'sample_kwargs': {} if truncation is None else {'truncation': truncation},
        }
        if prior is not None:
            inputs['prior'] = prior[part]
        batch: dict[str, object] = {'inputs': inputs}
        if labels:
            batch['data_samples'] = labels[part]
        batches.append(batch)
    return batches


def _draw_labels(gan: BaseGAN, num: int, seed: int) -> list[DataSample]:
    """Draw the classes that one of mmagic's class-conditional GANs would draw itself."""
    num_classes = getattr(gan, 'num_classes', None)
    if not num_classes or isinstance(gan, DISPGAN):
        return []
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (num,), generator=rng).tolist()
    return [DataSample().set_gt_label(label) for label in labels]
