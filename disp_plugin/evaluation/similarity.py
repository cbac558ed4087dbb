"""Does a GAN place images as an encoder does? The paper's Tables 12 and 13."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmagic.models.editors.stylegan2.stylegan2_modules import ModMBStddevLayer
from torch import Tensor, nn

from disp_plugin.applications.invert_images import frozen
from disp_plugin.distributed import unwrap_model
from disp_plugin.models import PriorProjectionDiscriminator

__all__ = [
    'Correlations',
    'Spread',
    'discriminator_features',
    'draw_pairs',
    'reconstruction_similarity',
    'similarity_correlation',
]

CHUNK = 1024


class Correlations(NamedTuple):
    """How cosine similarity in D_f goes with another measure, over pairs of images.

    The paper's table has Pearson's.
    """

    pearson: float
    spearman: float


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


@torch.no_grad()
def discriminator_features(gan: nn.Module, images: Tensor, batch_size: int = 32) -> Tensor:
    """Compute D_f(x), what enters the last linear layer of a trained discriminator.

    The discriminator is in eval mode meanwhile, without adaptive augmentation. One that looks at
    statistics of its batch, as StyleGAN2's, gets the images one by one: features are those of an
    image alone.

    Args:
        gan (nn.Module): A DISP GAN.
        images (Tensor): (N, 3, H, W) in [-1, 1], in the GAN's channel order.
        batch_size (int): Images at a time. Defaults to 32.

    Returns:
        Tensor: (N, F) float32 on the CPU.

    Raises:
        ValueError: The GAN has no discriminator whose features are known, or no images were given.
    """
    network = unwrap_model(getattr(gan, 'discriminator', gan))
    if not isinstance(network, PriorProjectionDiscriminator):
        raise ValueError(
            f'the discriminator is a {type(network).__name__}, but D_f is known of a '
            'PriorProjectionDiscriminator only, which the configs disp_* have'
        )
    if len(images) == 0:
        raise ValueError('there are no images to compute features of')
    if any(isinstance(module, ModMBStddevLayer) for module in network.modules()):
        batch_size = 1
    device = next(network.parameters()).device
    with frozen(network):
        parts = [network.extract_features(part.to(device)) for part in images.split(batch_size)]
    return torch.cat(parts).float().cpu()


def similarity_correlation(
    disc_features: Tensor, encoder_features: Tensor, images: np.ndarray, pairs: np.ndarray
) -> dict[str, Correlations]:
    """Correlate cosine similarity in D_f with likeness to an encoder and with pixel distance.

    "Equivalence of closeness in latent and image space" in the paper's supplement: a high positive
    correlation with perceptual similarity and a moderate negative one with distance between images.
    Perceptual similarity is the cosine of an encoder's features, and distance the Euclidean one of
    pixels; the paper names neither.

    Legend: N images, P pairs.

    Args:
        disc_features (Tensor): (N, F), by :func:`discriminator_features`.
        encoder_features (Tensor): (N, D) of the same images, by any encoder.
        images (np.ndarray): (N, H, W, 3) uint8.
        pairs (np.ndarray): (P, 2) rows of images.

    Returns:
        dict[str, Correlations]: 'perceptual' and 'pixels'.

    Raises:
        ValueError: There are fewer than 3 pairs, or a measure is the same for all pairs.
    """
    from scipy.stats import pearsonr, spearmanr

    if len(pairs) < 3:
        raise ValueError(f'a correlation needs at least 3 pairs of images, but got {len(pairs)}')
    in_disc = _measure_pairs(_cosine, disc_features, pairs)
    others = {
        'perceptual': _measure_pairs(_cosine, encoder_features, pairs),
        'pixels': _measure_pairs(_distance, images.reshape(len(images), -1), pairs),
    }
    for name, values in {'D_f': in_disc, **others}.items():
        if np.ptp(values) <= 1e-6 * np.abs(values).max():
            raise ValueError(f'all {len(pairs)} pairs are alike by {name}; take other images')
    return {
        name: Correlations(*(float(f(in_disc, values).statistic) for f in (pearsonr, spearmanr)))
        for name, values in others.items()
    }


def reconstruction_similarity(real: Tensor, generated: Tensor, seed: int = 0) -> dict[str, Spread]:
    """Compare images with those generated from their priors, and with random others.

    Cosine similarity of features of an encoder or of the discriminator. The paper has the first two
    rows; the third tells how much of the first is due to the prior, and how much to any image of
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
    spreads = {}
    for name, partners in {'own': rows + num, 'random': others, 'other': others + num}.items():
        values = _measure_pairs(_cosine, both, np.stack([rows, partners], axis=1))
        spreads[name] = Spread(float(values.mean()), float(values.std(ddof=1)), num)
    return spreads


def draw_pairs(num_images: int, num_pairs: int, seed: int = 0) -> np.ndarray:
    """Draw pairs (P, 2) of different images, uniformly and with repetition.

    Raises:
        ValueError: There are fewer than 2 images, or no pair is asked for.
    """
    if num_images < 2 or num_pairs < 1:
        raise ValueError(
            f'pairs need at least 2 images and 1 pair, but got {num_images} and {num_pairs}'
        )
    rng = np.random.default_rng(seed)
    first = rng.integers(num_images, size=num_pairs)
    second = (first + rng.integers(1, num_images, size=num_pairs)) % num_images
    return np.stack([first, second], axis=1)


def _measure_pairs(
    measure: Callable[..., Tensor | np.ndarray], values: Tensor | np.ndarray, pairs: np.ndarray
) -> np.ndarray:
    """Measure pairs (P, 2) of rows of values, some at a time: (P,) float64."""
    chunks = (pairs[start : start + CHUNK].T for start in range(0, len(pairs), CHUNK))
    parts = [np.asarray(measure(values[first], values[second])) for first, second in chunks]
    return np.concatenate(parts).astype(np.float64)


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    return F.cosine_similarity(first.double(), second.double(), dim=1)


def _distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compute Euclidean distances of pixels in [-1, 1], given in [0, 255]."""
    return np.linalg.norm((first.astype(np.float32) - second) / 127.5, axis=1)
