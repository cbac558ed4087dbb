"""The training images that samples look most like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ['Nearest', 'find_nearest', 'flatten_pixels']

_BATCH = 64


class Nearest(NamedTuple):
    """What was found for N samples.

    Attributes:
        keys (list[list[str]]): N times K keys of training images, the nearest first.
        distances (np.ndarray): (N, K).
        views (np.ndarray): (N, K) which view of each image is that near: 0 as it is, 1 flipped.
        typical (float): Median distance of a training image to its nearest other one; 0 where
            most are there more than once, nan where there is but one.
        num_searched (int): How many training images were looked at.
    """

    keys: list[list[str]]
    distances: np.ndarray
    views: np.ndarray
    typical: float
    num_searched: int


def flatten_pixels(images: np.ndarray) -> Tensor:
    """Make features of pixels whose distance is the root of the mean squared difference.

    Args:
        images (np.ndarray): (N, H, W, 3) uint8.

    Returns:
        Tensor: (N, H*W*3) float32; the distance of black and white is 255.
    """
    flat = torch.from_numpy(np.ascontiguousarray(images)).flatten(1).float()
    return flat / flat.shape[1] ** 0.5


def find_nearest(
    samples: Tensor,
    view: Any,
    rows: list[int],
    to_features: Callable[[np.ndarray], Tensor],
    num: int = 3,
    num_probes: int = 100,
) -> Nearest:
    """Find the nearest training images of each sample, in any space.

    Of an image that training flips, the nearer view counts.

    Legend: N samples, F features, V views of each training image.

    Args:
        samples (Tensor): (N, F) features of the samples.
        view (TrainingView): The training images.
        rows (list[int]): Rows of it to look at.
        to_features (Callable[[np.ndarray], Tensor]): (n, H, W, 3) uint8 RGB -> (n, F).
        num (int): K, how many for each sample. Defaults to 3.
        num_probes (int): Training images whose nearest others make the typical distance.
            Defaults to 100.

    Returns:
        Nearest: Keys, distances and views, with fewer than K where there are fewer images.
    """
    probes = rows[:: max(1, len(rows) // num_probes)][:num_probes]
    own = torch.cat([features[:, 0] for _, features in _read(view, probes, to_features)])
    queries = torch.cat([samples, own]).double()
    table = torch.empty(len(queries), len(rows), dtype=torch.float64)
    views = torch.empty(len(queries), len(rows), dtype=torch.uint8)
    done = 0
    for read, features in _read(view, rows, to_features):
        flat = features.double().flatten(0, 1)
        distances = torch.cdist(queries, flat, compute_mode='donot_use_mm_for_euclid_dist')
        nearer = distances.view(len(queries), len(read), -1).min(2)
        table[:, done : done + len(read)] = nearer.values
        views[:, done : done + len(read)] = nearer.indices
        done += len(read)
    place = {row: column for column, row in enumerate(rows)}
    for index, row in enumerate(probes):
        table[len(samples) + index, place[row]] = torch.inf
    best = table[: len(samples)].topk(min(num, len(rows)), largest=False)
    typical = table[len(samples) :].amin(1).median().item() if len(rows) > 1 else float('nan')
    keys = [[view.keys[rows[column]] for column in columns] for columns in best.indices.tolist()]
    chosen = views[: len(samples)].gather(1, best.indices)
    return Nearest(keys, best.values.numpy(), chosen.numpy(), typical, len(rows))


def _read(
    view: Any, rows: list[int], to_features: Callable[[np.ndarray], Tensor]
) -> Iterator[tuple[list[int], Tensor]]:
    """Read batches of images as features (n, V, F)."""
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        images = np.stack([view[row] for row in batch])
        features = to_features(images.reshape(-1, *images.shape[2:]))
        yield batch, features.view(len(batch), images.shape[1], -1)
