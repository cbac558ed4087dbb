"""Is G(z | C(x)) like x? The paper's Table 13."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .similarity_correlation import cosine_of_pairs

__all__ = ['Spread', 'reconstruction_similarity']


class Spread(NamedTuple):
    """Similarities of many pairs.

    Attributes:
        mean (float): Their mean.
        standard_deviation (float): Among pairs, as in the paper's table; not that of the mean.
        num (int): Pairs.
    """

    mean: float
    standard_deviation: float
    num: int


def reconstruction_similarity(real: Tensor, generated: Tensor, seed: int = 0) -> dict[str, Spread]:
    """Compare images with those generated from their priors, and with random others.

    Cosine similarity of features of an encoder or of the discriminator. The paper has the first two
    rows; the third says how much of the first is due to the prior, and how much to any image of
    this GAN.

    Args:
        real (Tensor): (N, F) features of images x.
        generated (Tensor): (N, F) features of G(z | C(x)), in the same order.
        seed (int): Of the choice of other images. Defaults to 0.

    Returns:
        dict[str, Spread]: 'own', x and G(z | C(x)); 'random', x and another x'; and 'other', x and
        G(z | C(x')).

    Raises:
        ValueError: There are fewer than 2 images, or not one generated image for each.
    """
    num = len(real)
    if num < 2 or real.shape != generated.shape:
        raise ValueError(
            'features must be of at least 2 images and as many generated ones, but are '
            f'{tuple(real.shape)} and {tuple(generated.shape)}'
        )
    rng = np.random.default_rng(seed)
    rows = np.arange(num)
    others = (rows + rng.integers(1, num, size=num)) % num
    both = torch.cat([real, generated])
    found = {'own': rows + num, 'random': others, 'other': others + num}
    spreads = {}
    for name, partners in found.items():
        values = cosine_of_pairs(both, np.stack([rows, partners], axis=1))
        spreads[name] = Spread(float(values.mean()), float(values.std(ddof=1)), num)
    return spreads
