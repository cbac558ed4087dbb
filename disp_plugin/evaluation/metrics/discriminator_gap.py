"""Does the discriminator know its training images by heart?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmagic.registry import METRICS
from torch import Tensor

from disp_plugin.applications.sample_images import from_rgb
from disp_plugin.distributed import unwrap_model

from ..metric_card import MetricCard
from ..reference_set import ReferenceSet
from ..spaces import Config, FeatureSpace, get_space
from .gan_metric import GanMetric

__all__ = ['DiscriminatorGapMetric']

MINIBATCH_STD_GROUP = 4
"""StyleGAN2's discriminator compares images within groups of this size."""


@METRICS.register_module()
class DiscriminatorGapMetric(GanMetric):
    """Mean score of training images less that of held-out images, each with its own prior.

    Zero for a discriminator that tells real from generated; it grows as that learns its training
    images by heart (Figure 1 of arXiv 2012.04256). Images are drawn at random where there are more
    than ``num_images``, unmirrored and unaugmented.

    Per-image embeddings exist for training images only. Their discriminator is asked without them,
    for the score of the wrapped part.

    Args:
        encoder (Config | None): Config of the encoder of the priors. Defaults to None, for a GAN
            without priors.
        num_images (int): Of each kind, at most. Defaults to 1000.
        batch_size (int): Images at a time, a multiple of 4. Defaults to 64.
        **kwargs: Of :class:`GanMetric`.

    Raises:
        ValueError: ``batch_size`` is no multiple of 4.
    """

    NEEDS_TRAIN = True

    def __init__(
        self,
        encoder: Config | None = None,
        num_images: int = 1000,
        batch_size: int = 64,
        **kwargs: Any,
    ) -> None:
        if batch_size % MINIBATCH_STD_GROUP or batch_size < 1:
            raise ValueError(f'batch_size must be a multiple of 4, but is {batch_size}')
        super().__init__(**kwargs)
        self.encoder = encoder
        self.num_images = num_images
        self.batch_size = batch_size

    def compute_cards(self, generated: Tensor | None) -> list[MetricCard]:
        """Compute 'disc_gap', and 'disc_gap_in_sd' in units of the held-out scores' spread."""
        if self.gan.discriminator is None:
            raise ValueError('this GAN has no discriminator')
        train, held_out = self._score(self.train), self._score(self.held_out)
        gap = float(train.mean() - held_out.mean())
        spread = float((train.var() / len(train) + held_out.var() / len(held_out)).sqrt())
        details: dict[str, float | list[float]] = {
            'score_train': float(train.mean()),
            'score_held_out': float(held_out.mean()),
            'num_scored': [len(train), len(held_out)],
        }
        cards = [MetricCard(self.protocol('disc_gap'), gap, spread, details)]
        unit = float(held_out.std())
        if unit > 0:
            protocol = self.protocol('disc_gap_in_sd')
            cards.append(MetricCard(protocol, gap / unit, spread / unit, details))
        return cards

    @torch.no_grad()
    def _score(self, images: ReferenceSet) -> Tensor:
        num = min(self.num_images, len(images)) // MINIBATCH_STD_GROUP * MINIBATCH_STD_GROUP
        if num == 0:
            raise ValueError(
                f'{len(images)} images of the split {images.split} are too few; '
                f'it takes at least {MINIBATCH_STD_GROUP}'
            )
        rows = np.random.default_rng(self.seed).permutation(len(images))[:num].tolist()
        space = self._prior_space()
        device = next(self.gan.parameters()).device
        scores = []
        for start in range(0, num, self.batch_size):
            part = rows[start : start + self.batch_size]
            pixels = from_rgb(images.images(part), self.channel_order).to(device)
            prior = images.features(space)[part].to(device) if space else None
            scores.append(self._discriminate(pixels, prior).float().flatten().cpu())
        return torch.cat(scores)

    def _prior_space(self) -> FeatureSpace | None:
        if not getattr(self.gan, 'prior_dim', 0) or getattr(self.gan, 'per_image', False):
            return None
        if self.encoder is None:
            raise ValueError('the GAN takes priors: give encoder=, the config of their encoder')
        return get_space('prior', self.encoder)

    def _discriminate(self, pixels: Tensor, prior: Tensor | None) -> Tensor:
        network = unwrap_model(self.gan.discriminator)
        if prior is not None:
            return network(pixels, self.gan.normalize_prior(prior))
        if getattr(self.gan, 'per_image', False) and hasattr(network, 'prior_projection'):
            return network.discriminator(pixels)
        if getattr(network, 'num_classes', 0):
            raise ValueError(
                f'{type(network).__name__} scores images with class labels, which real images here '
                'do not bring; leave disc_gap out'
            )
        return network(pixels)
