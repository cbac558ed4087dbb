"""Whether mmagic has an architecture for a size of images."""

from collections.abc import Iterable
from typing import Any

BIGGAN_SCALES = (32, 64, 128, 256, 512)
"""Sizes for which mmagic's BigGAN has an architecture of its own."""

STYLEGAN2_SCALES = (8, 16, 32, 64, 128, 256, 512, 1024)
"""Sizes that mmagic's StyleGAN2 can be built for."""


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


def check_stylegan2_scale(scale: Any, channel_base: Any, channel_max: Any, taker: str) -> None:
    """See that StyleGAN2 can be built for a size of images and a width.

    Args:
        scale (Any): Height and width in pixels.
        channel_base (Any): Channels of a feature map times its size, at most.
        channel_max (Any): Channels of a feature map, at most.
        taker (str): Name of the network, for the message.

    Raises:
        ValueError: It cannot.
    """
    if scale not in STYLEGAN2_SCALES:
        raise ValueError(
            f'{taker} has no architecture for images of {scale} px; set image_size to one of '
            f'{", ".join(map(str, STYLEGAN2_SCALES))}'
        )
    for name, value, least in (
        ('channel_base', channel_base, scale),
        ('channel_max', channel_max, 1),
    ):
        if not isinstance(value, int) or value < least:
            raise ValueError(
                f'{name} of {taker} must be a whole number from {least}, but is {value!r}'
            )


def stylegan2_width(width: int, size: int, channel_base: int, channel_max: int) -> int:
    """Narrow a feature map of StyleGAN2.

    Args:
        width (int): Channels that mmagic gives it.
        size (int): Its height and width in pixels.
        channel_base (int): Channels times size, at most.
        channel_max (int): Channels, at most.

    Returns:
        int: Channels.
    """
    return min(width, channel_base // size, channel_max)
