"""Inputs of a GAN to sample from for metrics: the same at every snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from mmagic.structures import DataSample
from mmengine.dist import get_rank, get_world_size
from torch import nn

from disp_plugin.applications.sample_images import draw_inputs

__all__ = ['SeededBatches']


class SeededBatches:
    """Noise and priors of all images to sample, the same whatever the processes and the batch.

    Of W processes, process r takes images r, r + W, ...; the last are repeated from further draws
    where their number is no multiple of W.

    Args:
        gan (nn.Module): A GAN of mmagic or of this package.
        num (int): Images to sample, in all processes together.
        batch_size (int): Images at a time in each.
        seed (int): Of noise and priors.
        sample_model (str): 'ema' or 'orig'.
        truncation (float | None): As in ``tools/sample.py``.
    """

    def __init__(
        self,
        gan: nn.Module,
        num: int,
        batch_size: int,
        seed: int,
        sample_model: str,
        truncation: float | None,
    ) -> None:
        self.gan = gan
        self.num_per_process = -(-num // get_world_size())
        self.batch_size = batch_size
        self.seed = seed
        self.sample_model = sample_model
        self.sample_kwargs = {} if truncation is None else {'truncation': truncation}

    def __len__(self) -> int:
        return -(-self.num_per_process // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if not self.num_per_process:
            return
        rank, world_size = get_rank(), get_world_size()
        noise, prior = draw_inputs(self.gan, self.num_per_process * world_size, self.seed)
        labels = self._draw_labels(len(noise))[rank::world_size]
        noise = noise[rank::world_size]
        prior = None if prior is None else prior[rank::world_size]
        for start in range(0, len(noise), self.batch_size):
            part = slice(start, start + self.batch_size)
            inputs = {
                'noise': noise[part],
                'num_batches': len(noise[part]),
                'sample_model': self.sample_model,
                'sample_kwargs': dict(self.sample_kwargs),
            }
            if prior is not None:
                inputs['prior'] = prior[part]
            batch: dict[str, Any] = {'inputs': inputs}
            if labels:
                batch['data_samples'] = [_labeled(label) for label in labels[part]]
            yield batch

    def _draw_labels(self, num: int) -> list[int]:
        """Draw classes for one of mmagic's class-conditional GANs, which would draw its own."""
        num_classes = getattr(self.gan, 'num_classes', None)
        if not num_classes or hasattr(self.gan, 'prior_dim'):
            return []
        rng = torch.Generator().manual_seed(self.seed)
        return torch.randint(num_classes, (num,), generator=rng).tolist()


def _labeled(label: int) -> DataSample:
    sample = DataSample()
    sample.set_gt_label(label)
    return sample
