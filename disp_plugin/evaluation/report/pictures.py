"""The pictures of a report: samples, samples beside training images, walks between priors."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmagic.models.base_models import BaseGAN
from mmagic.registry import DATASETS
from PIL import Image
from torch import Tensor

from disp_plugin.applications.interpolate_priors import interpolate_priors
from disp_plugin.applications.sample_images import draw_inputs, make_grid, sample_images
from disp_plugin.datasets import ImageViews

from ..held_out import find_training_images
from ..spaces import Config, FeatureSpace, get_space

__all__ = ['Comparison', 'Nearest', 'Picture', 'find_nearest', 'show_grid', 'show_nearest']

NUM_COMPARED = 12
NUM_WALKS = 4
NUM_STEPS = 8
NUM_NEAREST = 3
NUM_PROBES = 100
"""Training images whose nearest others make the typical distance."""
MAX_SEARCHED = 20_000
"""Training images that are looked at; of more, as many are drawn."""
_UNITS = {
    'pixels': 'Distance of pixels: root of the mean squared difference, where black and white are '
    '255 apart.',
    'features': "Distance of the encoder's features: Euclidean.",
}
_BATCH = 64
_MAX_GRID_PIXELS = 1024
_LOSSLESS_UP_TO = 64  # pixels; larger images as JPEG, or a page would weigh megabytes


class Picture(NamedTuple):
    """An image that a page holds.

    Attributes:
        src (str): A data URI.
        alt (str): What it shows, for those who cannot see it.
        width (int): Width to show it at, in CSS pixels.
        caption (str): What to say beneath.
        is_pixelated (bool): Whether it is shown larger than it is.
    """

    src: str
    alt: str
    width: int
    caption: str
    is_pixelated: bool


class Comparison(NamedTuple):
    """A sample, and for each space its name and the training images, the nearest first."""

    sample: Picture
    nearest: list[tuple[str, list[Picture]]]


class Nearest(NamedTuple):
    """The training images nearest to N samples.

    Attributes:
        rows (np.ndarray): (N, K) rows of training images, the nearest first.
        distances (np.ndarray): (N, K).
        views (np.ndarray): (N, K) which view of each image is that near: 0 as it is, 1 flipped.
        typical (float): Median distance of a training image to its nearest other one; 0 where
            most are there more than once, nan where there is but one.
    """

    rows: np.ndarray
    distances: np.ndarray
    views: np.ndarray
    typical: float


def encode_picture(image: np.ndarray, alt: str, width: int, caption: str = '') -> Picture:
    """Put an image (H, W, 3) uint8 RGB into a data URI: PNG if small, else JPEG."""
    is_small = min(image.shape[:2]) <= _LOSSLESS_UP_TO or image.size < 200_000
    kind = 'PNG' if is_small else 'JPEG'
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, quality=88, optimize=is_small)  # PNG has no quality
    text = base64.b64encode(file.getvalue()).decode('ascii')
    src = f'data:image/{kind.lower()};base64,{text}'
    return Picture(src, alt, width, caption, width > image.shape[1])


def show_grid(gan: BaseGAN, seed: int) -> Picture:
    """Sample a grid of up to eight rows of eight, smaller for larger images."""
    first = _sample(gan, 1, seed)
    side = int(min(8, max(3, _MAX_GRID_PIXELS // first.shape[2])))
    images = _sample(gan, side * side, seed)
    width = min(960, side * max(72, min(160, images.shape[2])))
    alt = f'{side * side} samples of the generator in {side} rows'
    return encode_picture(make_grid(images, side), alt, width)


def show_walks(gan: BaseGAN, seed: int) -> list[Picture]:
    """Walk from one drawn prior to another, several times: a strip for each walk.

    Raises:
        ValueError: The GAN takes no priors.
    """
    noise, prior = draw_inputs(gan, 2 * NUM_WALKS, seed)
    if prior is None:
        raise ValueError('This GAN takes no priors (it is a baseline): nothing to walk between.')
    walks = []
    for index in range(NUM_WALKS):
        one, other = 2 * index, 2 * index + 1
        images = interpolate_priors(
            *(gan, prior[one, None], prior[other, None], noise[one, None]), num_steps=NUM_STEPS
        )
        alt = f'Walk {index + 1}: {NUM_STEPS} samples of one noise between two priors'
        width = NUM_STEPS * max(72, min(112, images.shape[2]))
        walks.append(encode_picture(make_grid(images, NUM_STEPS), alt, width))
    return walks


def show_nearest(gan: BaseGAN, cfg: Config, seed: int) -> tuple[list[Comparison], list[str]]:
    """Put samples beside the training images that they look most like.

    Nearest by pixels, and by the features of the run's encoder where it has one.

    Returns:
        tuple[list[Comparison], list[str]]: The first samples of the grid, and notes that explain
        the distances.

    Raises:
        FileNotFoundError: The training images are not there.
        ValueError: They cannot be read.
    """
    images = DATASETS.build(find_training_images(cfg))
    rows = list(range(len(images)))
    if len(rows) > MAX_SEARCHED:
        chosen = np.random.default_rng(seed).choice(len(rows), MAX_SEARCHED, replace=False)
        rows = sorted(chosen.tolist())
    samples = _sample(gan, NUM_COMPARED, seed)
    encodings, missing = {'pixels': flatten_pixels}, []
    if cfg.get('encoder'):
        try:
            encodings['features'] = functools.partial(_encode, get_space('prior', cfg['encoder']))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            missing = [f"The run's encoder is not at hand: {error}"]
    found = {
        name: find_nearest(encode(samples), images, rows, encode)
        for name, encode in encodings.items()
    }
    notes = [f'{_UNITS[name]} {_say_typical(each.typical)}' for name, each in found.items()]
    notes += missing
    if len(rows) < len(images):
        notes.append(
            f'Looked at {len(rows):,} of the {len(images):,} training images, drawn by seed.'
        )
    return _compare(samples, found, images), notes


def _sample(gan: BaseGAN, num: int, seed: int) -> np.ndarray:
    noise, prior = draw_inputs(gan, num, seed)
    return np.concatenate(list(sample_images(gan, noise, prior)))


def _encode(space: FeatureSpace, images: np.ndarray) -> Tensor:
    return space.features(torch.from_numpy(np.ascontiguousarray(images)))


def _say_typical(typical: float) -> str:
    if typical == 0:
        return 'Most training images are there more than once: distances have nothing to go by.'
    if not typical > 0:
        return 'Training images have no others that they could be compared with.'
    return (
        f'1x is {typical:.3g}, the median distance of a training image to its nearest other one; a '
        'sample far below 1x repeats.'
    )


def _compare(
    samples: np.ndarray, spaces: Mapping[str, Nearest], images: ImageViews
) -> list[Comparison]:
    width = max(72, min(112, samples.shape[2]))
    compared = []
    for index, sample in enumerate(samples):
        shown = encode_picture(sample, f'Sample {index + 1}', width, str(index + 1))
        compared.append(Comparison(shown, []))
        for space, nearest in spaces.items():
            pictures = []
            columns = (nearest.rows[index], nearest.distances[index], nearest.views[index])
            for row, distance, side in zip(*(c.tolist() for c in columns), strict=True):
                name = images.image_keys[row] + (', mirrored' if side else '')
                alt = f'Training image {name}, of sample {index + 1} nearest by {space}'
                times = f'\n({distance / nearest.typical:.1f}x)' if nearest.typical > 0 else ''
                image = images.view(row, bool(side))
                pictures.append(encode_picture(image, alt, width, f'{distance:.3g}{times}'))
            compared[-1].nearest.append((f'nearest by {space}', pictures))
    return compared


def flatten_pixels(images: np.ndarray) -> Tensor:
    """Flatten pixels (N, H, W, 3) uint8 to features (N, H*W*3) float32.

    Their distance is the root of the mean squared difference; black and white are 255 apart.
    """
    flat = torch.from_numpy(np.ascontiguousarray(images)).flatten(1).float()
    return flat / flat.shape[1] ** 0.5


def find_nearest(
    samples: Tensor,
    images: ImageViews,
    rows: Sequence[int],
    to_features: Callable[[np.ndarray], Tensor],
) -> Nearest:
    """Find the three nearest training images of each sample, in any space.

    If training flips images, the nearer view counts.

    Args:
        samples (Tensor): (N, F) features of the samples.
        images (ImageViews): The training images.
        rows (Sequence[int]): Which of them to look at.
        to_features (Callable[[np.ndarray], Tensor]): (n, H, W, 3) uint8 RGB -> (n, F).

    Returns:
        Nearest: Rows, distances and views; K is below three where there are fewer images.
    """
    probes = range(0, len(rows), max(1, len(rows) // NUM_PROBES))[:NUM_PROBES]
    probed = [rows[place] for place in probes]
    own = torch.cat([features[:, 0] for features in _read(images, probed, to_features)])
    queries = torch.cat([samples, own]).double()
    distances, views = [], []
    for features in _read(images, rows, to_features):
        flat = features.double().flatten(0, 1)
        table = torch.cdist(queries, flat, compute_mode='donot_use_mm_for_euclid_dist')
        nearer = table.view(len(queries), *features.shape[:2]).min(dim=2)
        distances.append(nearer.values)
        views.append(nearer.indices)
    table = torch.cat(distances, dim=1)
    table[range(len(samples), len(queries)), list(probes)] = torch.inf  # no image is its own other
    best = table[: len(samples)].topk(min(NUM_NEAREST, len(rows)), largest=False)
    typical = table[len(samples) :].amin(1).median().item() if len(rows) > 1 else float('nan')
    chosen = torch.cat(views, dim=1)[: len(samples)].gather(1, best.indices)
    found = torch.as_tensor(rows)[best.indices]
    return Nearest(found.numpy(), best.values.numpy(), chosen.numpy(), typical)


def _read(
    images: ImageViews, rows: Sequence[int], to_features: Callable[[np.ndarray], Tensor]
) -> Iterator[Tensor]:
    """Yield batches of images as features (n, V, F)."""
    sides = range(images.num_views)
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        shown = np.stack([images.view(row, bool(side)) for row in batch for side in sides])
        yield to_features(shown).view(len(batch), len(sides), -1)
