"""Whether an encoder can be asked about images that are not in its bank."""

from collections.abc import Mapping
from typing import Any

from mmagic.registry import MODELS

__all__ = ['can_encode_new_images']


def can_encode_new_images(encoder: Mapping[str, Any] | None) -> bool:
    """Tell from its config, without building it, whether an encoder knows unseen images.

    Args:
        encoder (Mapping[str, Any] | None): Config of the encoder.

    Returns:
        bool: False for None and for per-image embeddings; True for a type that is not registered,
        which building it will say.
    """
    if not encoder:
        return False
    kind = encoder['type']
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    return getattr(kind, 'knows_unseen_images', True)
