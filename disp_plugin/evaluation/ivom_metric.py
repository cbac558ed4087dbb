"""How near can the generator come to images that it has not seen?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmagic.registry import METRICS
from torch import Tensor

from disp_plugin.applications.invert_images import invert_images
from disp_plugin.applications.sample_images import from_rgb, to_rgb
from disp_plugin.encoders import can_encode_new_images

from .feature_space import get_space
from .frechet_distance import frechet_distance
from .gan_metric import GanMetric
from .inversion_error import inversion_error


@METRICS.register_module()
class IvOMMetric(GanMetric):
    """Smallest pixel error that inverting held-out images reaches, and FID of what it gives.

    Inference via optimization (Metz et al. 2017, arXiv 1611.02163), by optimizing the projected
    prior of every block as in arXiv 2012.04256. It takes minutes on a GPU.

    Args:
        encoder (dict): Config of the encoder of the priors.
        spaces (dict | None): Name -> config of an encoder, for the FID between inverted images and
            queries. Defaults to None: no FID.
        num_queries (int): Held-out images to invert, drawn at random. Defaults to 100.
        num_steps (int): Of the optimization. Defaults to 200.
        batch_size (int): Images at a time. Defaults to 32.
        **kwargs: Of :class:`GanMetric`.

    Raises:
        ValueError: A number is below 2, or there is no encoder that knows unseen images.
    """

    def __init__(
        self,
        encoder: Mapping[str, Any] | None,
        spaces: Mapping[str, Mapping[str, Any]] | None = None,
        num_queries: int = 100,
        num_steps: int = 200,
        batch_size: int = 32,
        **kwargs: Any,
    ) -> None:
        if not can_encode_new_images(encoder):
            raise ValueError(
                'IvOM starts from the priors of unseen images, but the run has no encoder that '
                'gives them; leave ivom out'
            )
        if num_queries < 2 or num_steps < 1:
            raise ValueError(
                f'IvOM needs at least 2 queries and 1 step, but got {num_queries} and {num_steps}'
            )
        assert encoder is not None
        super().__init__(**kwargs)
        self.prior_space = get_space('prior', encoder)
        self.spaces = [get_space(name, cfg) for name, cfg in (spaces or {}).items()]
        self.num_queries = num_queries
        self.num_steps = num_steps
        self.batch_size = batch_size

    def compute_cards(self, collected: Any) -> list[dict[str, Any]]:
        """Invert, and measure.

        Args:
            collected (Any): Not used.

        Returns:
            list[dict[str, Any]]: Card 'ivom', and 'fid_inverted' for each space.
        """
        assert self.held_out is not None
        num = min(self.num_queries, len(self.held_out))
        rows = np.random.default_rng(self.seed).permutation(len(self.held_out))[:num].tolist()
        queries = self.held_out.images(rows)
        found = invert_images(
            self.gan,
            from_rgb(queries, self.channel_order),
            self.held_out.features(self.prior_space)[rows],
            self.num_steps,
            seed=self.seed,
            batch_size=self.batch_size,
            sample_model=self.sample_model,
        )
        details = {'queries': num, 'steps': self.num_steps, 'lr': 0.1}
        cards = [self.card('ivom', *inversion_error(found.losses), details=details)]
        inverted = torch.from_numpy(to_rgb((found.images + 1) * 127.5, self.channel_order))
        for space in self.spaces:
            real = torch.from_numpy(queries)
            features = [self._encode(space, images) for images in (inverted, real)]
            value, spread = frechet_distance(*features)
            described = space.describe()
            cards.append(self.card('fid_inverted', value, spread, details=details, space=described))
        return cards

    def _encode(self, space: Any, images: Tensor) -> Tensor:
        return torch.cat([space.features(part) for part in images.split(self.batch_size)])
