"""Metrics that compare features of generated images with those of real ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import all_gather, get_world_size
from torch import Tensor

from disp_plugin.applications.sample_images import to_rgb
from disp_plugin.cli.choose_device import choose_device

from .feature_space import FeatureSpace, get_space
from .gan_metric import GanMetric

__all__ = ['FeatureMetric']


class FeatureMetric(GanMetric):
    """A comparison in the space of an encoder.

    Metrics with the same ``space`` and ``encoder`` share one network and encode each batch once.

    Args:
        encoder (dict): Config of the encoder.
        space (str): Name of the space, a part of the number's name, such as 'clean'.
        fake_nums (int): N, images to sample. Defaults to 1000.
        **kwargs: Of :class:`GanMetric`.

    Raises:
        FileNotFoundError: The encoder's weights are not at hand.
        ValueError: ``fake_nums`` is below 2, or the encoder knows no unseen images.
    """

    def __init__(
        self, encoder: Mapping[str, Any], space: str, fake_nums: int = 1000, **kwargs: Any
    ) -> None:
        if fake_nums < 2:
            raise ValueError(
                f'{type(self).__name__} needs at least 2 images, but fake_nums is {fake_nums}'
            )
        super().__init__(fake_nums, **kwargs)
        self.space: FeatureSpace = get_space(space, encoder)
        self._features: list[Tensor] = []
        self._num = 0

    def process(self, data_batch: Any, data_samples: Any) -> None:
        """Encode a batch of samples.

        Args:
            data_batch (dict): What was sampled from.
            data_samples (Sequence[dict]): With ``fake_img`` (3, H, W) in [0, 255].
        """
        if self._num < self.fake_nums_per_device:
            self.add_images(*_rgb_of(data_samples, self.channel_order))

    def add_images(self, images: Tensor, is_finite: Tensor | None = None) -> None:
        """Encode generated images.

        Args:
            images (Tensor): (n, H, W, 3) uint8 RGB; those beyond ``fake_nums`` are ignored.
            is_finite (Tensor | None): (n,) bool, False for an image that was none before it was
                rounded to 8 bits. Defaults to None: all are.
        """
        wanted = self.fake_nums_per_device - self._num
        if wanted <= 0:
            return
        features = self.space.features(images)
        if is_finite is not None and not is_finite.all():
            features = features.masked_fill(~is_finite[:, None], float('nan'))
        self._features.append(features[:wanted])
        self._num += len(self._features[-1])

    @property
    def device(self) -> torch.device:
        """torch.device: Where features are compared: a GPU if there is one."""
        return choose_device()

    def collect(self) -> Tensor:
        """Bring the features of all ranks into the order of the draws.

        Returns:
            Tensor: (N, F); fewer rows where fewer images came.
        """
        width = self.space.encoder.prior_dim
        own = torch.cat(self._features) if self._features else torch.zeros(0, width)
        self._features, self._num = [], 0
        if get_world_size() == 1:
            return own[: self.fake_nums]
        shares = torch.stack([part.cpu() for part in all_gather(own)], dim=1)
        return shares.flatten(0, 1)[: self.fake_nums]

    def compute_cards(self, collected: Tensor) -> list[dict[str, Any]]:
        """Compare.

        Args:
            collected (Tensor): (N, F) features of the generated images.

        Returns:
            list[dict[str, Any]]: The cards.

        Raises:
            ValueError: There are too few images, or features that are not finite.
        """
        num = int((~collected.isfinite().all(dim=1)).sum())
        if num:
            raise ValueError(
                f'the features of {num} of {len(collected)} generated images are not finite'
            )
        return self.compare(collected.to(self.device))

    def compare(self, generated: Tensor) -> list[dict[str, Any]]:
        """Compare; what a child implements.

        Args:
            generated (Tensor): (N, F).

        Returns:
            list[dict[str, Any]]: The cards.
        """
        raise NotImplementedError

    def held_out_features(self) -> Tensor:
        """Get the features of the held-out images.

        Returns:
            Tensor: (M, F).
        """
        assert self.held_out is not None
        return self.held_out.features(self.space).to(self.device)

    def train_features(self) -> Tensor:
        """Get the features of the training images, mirrored views included.

        Returns:
            Tensor: (T, F).
        """
        assert self.train is not None
        return self.train.features(self.space, mirrored=True).to(self.device)

    def card(self, metric: str, value: float, spread: float | None = None, **fields: Any) -> dict:
        """Write a number down, with its space.

        Args:
            metric (str): Its short name.
            value (float): The number.
            spread (float | None): Its standard deviation. Defaults to None.
            **fields: What else ``make_card`` takes.

        Returns:
            dict: The card.
        """
        fields.setdefault('space', self.space.describe())
        return super().card(metric, value, spread, **fields)


class _LastBatch:
    """The batch that was turned to RGB last, so that metrics that share it see one object."""

    samples: Any = None
    images: Any = None


def _rgb_of(data_samples: Any, channel_order: str) -> tuple[Tensor, Tensor]:
    if _LastBatch.samples is not data_samples:
        pixels = torch.stack([sample['fake_img'] for sample in data_samples])
        is_finite = pixels.isfinite().flatten(1).all(dim=1).cpu()
        rgb = torch.from_numpy(to_rgb(pixels.nan_to_num(), channel_order))
        _LastBatch.images = rgb, is_finite
        _LastBatch.samples = data_samples
    return _LastBatch.images
