"""Whether mmagic has an architecture for a size of images."""

from collections.abc import Iterable
from typing import Any

BIGGAN_SCALES = (32, 64, 128, 256, 512)
"""Sizes for which mmagic's BigGAN has an architecture of its own."""


def check_scale(scale: Any, scales: Iterable[int], arch_field: str, taker: str) -> None:
    """See that a network has an architecture for its size of images.

    Args:
        scale (Any): Height and width in pixels.
        scales (Iterable[int]): Those for which mmagic has one.
        arch_field (str): Field that states one for any other size.
        taker (str): Name of the network, for the message.

    Raises:
        ValueError: There is none.
    """
    scales = sorted(scales)
    if scale not in scales:
        raise ValueError(
            f'{taker} has no architecture for images of {scale} px; set image_size to one of '
            f'{", ".join(map(str, scales))}, or state the architecture in {arch_field}'
        )
