"""A measured number, and the features it is measured on."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ['Estimate', 'check_features']


class Estimate(NamedTuple):
    """A measured value with its standard deviation.

    Attributes:
        value (float): What was measured.
        standard_deviation (float | None): How far another draw of the samples would move it; None
            where that is not known.
    """

    value: float
    standard_deviation: float | None = None


def check_features(least: int = 2, **sets: Tensor) -> None:
    """Validate feature matrices.

    Args:
        least (int): Fewest features in each set. Defaults to 2.
        **sets (Tensor): (N, F) floating point each, under the name that a message gives it.

    Raises:
        ValueError: A set is not (N, F) with the F of the others, is too small, or holds a value
            that is not finite.
    """
    widths = {}
    for name, features in sets.items():
        if features.ndim != 2 or not features.is_floating_point():
            raise ValueError(
                f'{name} must be floating point features (N, F), but is {features.dtype} of shape '
                f'{tuple(features.shape)}'
            )
        if len(features) < least:
            raise ValueError(
                f'{name} holds {len(features)} feature(s), at least {least} are needed: give more '
                'images'
            )
        if not all(torch.isfinite(extreme) for extreme in features.aminmax()):
            raise ValueError(
                f'{name} holds values that are not finite: see whether its images are damaged or '
                'the encoder ran out of range (half precision)'
            )
        widths[name] = features.shape[1]
    if len(set(widths.values())) > 1:
        text = ', '.join(f'{name} {width}' for name, width in widths.items())
        raise ValueError(f'the sets differ in width ({text}): extract them with the same encoder')
