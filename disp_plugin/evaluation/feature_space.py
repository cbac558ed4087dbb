"""The space in which images are compared: an encoder with a name."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from mmagic.registry import MODELS
from torch import Tensor

from disp_plugin.cli.choose_device import choose_device
from disp_plugin.encoders import can_encode_new_images
from disp_plugin.priors.check_origin import simplify_config

_SPACES: dict[str, FeatureSpace] = {}


class FeatureSpace:
    """Images -> features, by a :class:`PriorEncoder` that several metrics share.

    Args:
        name (str): Part of the names of numbers, such as 'clean' or 'dinov2'.
        encoder (PriorEncoder): The encoder.
    """

    def __init__(self, name: str, encoder: Any) -> None:
        self.name = name
        self.encoder = encoder
        self._batch: Any = None
        self._features: Tensor | None = None

    def features(self, images: Tensor) -> Tensor:
        """Encode images.

        Args:
            images (Tensor): (n, H, W, 3) uint8 RGB; a batch that came just before is not encoded
                again.

        Returns:
            Tensor: (n, F) float32 on the CPU.
        """
        if self._batch is not images:
            device = choose_device()
            pixels = images.to(device).permute(0, 3, 1, 2).float() / 255
            self._features = self.encoder.to(device)(pixels).cpu()
            self._batch = images
        assert self._features is not None
        return self._features

    def describe(self) -> dict[str, str]:
        """Say which space this is, for a card.

        Returns:
            dict[str, str]: ``name``, ``encoder``, ``preprocessing`` and ``fingerprint``.
        """
        parts = self.encoder.describe()
        return {
            'name': self.name,
            'encoder': f'{parts["architecture"]}, {parts["layer"]}',
            'preprocessing': parts['preprocessing'],
            'fingerprint': self.encoder.fingerprint(),
        }


def get_space(name: str, encoder: Mapping[str, Any]) -> FeatureSpace:
    """Build a space, or find it where this process has built it before.

    Args:
        name (str): Its name.
        encoder (Mapping[str, Any]): Config of the encoder.

    Returns:
        FeatureSpace: One object for equal arguments.

    Raises:
        FileNotFoundError: The encoder's weights are not at hand.
        ValueError: The encoder knows no unseen images.
    """
    if not can_encode_new_images(encoder):
        raise ValueError(
            f'a {encoder["type"]} knows only training images and is no space to compare images in; '
            'name another encoder'
        )
    file = encoder.get('checkpoint')
    status = os.stat(file) if file and os.path.isfile(file) else None
    content = [status.st_size, status.st_mtime_ns] if status else []
    identity = json.dumps([name, simplify_config(encoder), content], sort_keys=True)
    if identity not in _SPACES:
        _SPACES[identity] = FeatureSpace(name, MODELS.build(dict(encoder)))
    return _SPACES[identity]
