"""Does the discriminator's feature space agree with how alike images look? The paper's Table 12."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['Correlations', 'cosine_of_pairs', 'draw_pairs', 'similarity_correlation']


class Correlations(NamedTuple):
    """How cosine similarity in D_f goes with another measure, over pairs of images.

    Attributes:
        pearson (float): Linear correlation, as in the paper's table.
        spearman (float): Correlation of ranks.
    """

    pearson: float
    spearman: float


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
    in_disc = cosine_of_pairs(disc_features, pairs)
    others = {
        'perceptual': cosine_of_pairs(encoder_features, pairs),
        'pixels': _distance_of_pairs(images, pairs),
    }
    for name, values in {'D_f': in_disc, **others}.items():
        if np.ptp(values) <= 1e-6 * np.abs(values).max():
            raise ValueError(f'all {len(pairs)} pairs are alike by {name}; take other images')
    return {
        name: Correlations(
            float(pearsonr(in_disc, values).statistic), float(spearmanr(in_disc, values).statistic)
        )
        for name, values in others.items()
    }


def draw_pairs(num_images: int, num_pairs: int, seed: int = 0) -> np.ndarray:
    """Draw pairs of different images, uniformly and with repetition.

    Args:
        num_images (int): N.
        num_pairs (int): P.
        seed (int): Of the draw. Defaults to 0.

    Returns:
        np.ndarray: (P, 2) int64, in [0, N).

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


def cosine_of_pairs(features: Tensor, pairs: np.ndarray, chunk: int = 4096) -> np.ndarray:
    """Compute the cosine of the angle between features of pairs of images.

    Args:
        features (Tensor): (N, F).
        pairs (np.ndarray): (P, 2) rows.
        chunk (int): Pairs at a time. Defaults to 4096.

    Returns:
        np.ndarray: (P,) float64 in [-1, 1].
    """
    parts = [
        F.cosine_similarity(features[first].double(), features[second].double(), dim=1)
        for first, second in (part.unbind(1) for part in torch.from_numpy(pairs).split(chunk))
    ]
    return torch.cat(parts).numpy()


def _distance_of_pairs(images: np.ndarray, pairs: np.ndarray, chunk: int = 1024) -> np.ndarray:
    """Compute Euclidean distances of pixels in [-1, 1], (P,)."""
    pixels = images.reshape(len(images), -1)
    parts = []
    for start in range(0, len(pairs), chunk):
        first, second = pairs[start : start + chunk].T
        difference = (pixels[first].astype(np.float32) - pixels[second]) / 127.5
        parts.append(np.linalg.norm(difference, axis=1))
    return np.concatenate(parts).astype(np.float64)
