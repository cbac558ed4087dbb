"""The pictures of a report: samples, samples beside training images, walks between priors."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from mmagic.registry import DATASETS
from PIL import Image
from torch import Tensor

from disp_plugin.applications.interpolate_priors import interpolate_priors
from disp_plugin.applications.sample_images import draw_inputs, make_grid, sample_images
from disp_plugin.encoders import can_encode_new_images
from disp_plugin.priors import TrainingView, view_config

from .feature_space import FeatureSpace, get_space
from .find_nearest import Nearest, find_nearest, flatten_pixels

__all__ = ['Picture', 'encode_picture', 'show_grid', 'show_nearest', 'show_walks']

NUM_COMPARED = 12
NUM_WALKS = 4
NUM_STEPS = 8
MAX_SEARCHED = 20_000
"""Training images that are looked at; of more, so many are drawn."""
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
    caption: str = ''
    is_pixelated: bool = False


class Comparison(NamedTuple):
    """A sample beside its nearest training images.

    Attributes:
        sample (Picture): The sample.
        nearest (list[tuple[str, list[Picture]]]): For each space its name and the training images,
            the nearest first.
    """

    sample: Picture
    nearest: list[tuple[str, list[Picture]]]


def encode_picture(image: np.ndarray, alt: str, width: int, caption: str = '') -> Picture:
    """Put an image into a data URI.

    Args:
        image (np.ndarray): (H, W, 3) uint8 RGB.
        alt (str): What it shows.
        width (int): Width to show it at, in CSS pixels.
        caption (str): What to say beneath. Defaults to ''.

    Returns:
        Picture: PNG where one of its sides is small, else JPEG.
    """
    kind = 'PNG' if min(image.shape[:2]) <= _LOSSLESS_UP_TO or image.size < 200_000 else 'JPEG'
    file = io.BytesIO()
    options: dict[str, Any] = {'quality': 88} if kind == 'JPEG' else {'optimize': True}
    Image.fromarray(image).save(file, kind, **options)
    text = base64.b64encode(file.getvalue()).decode('ascii')
    src = f'data:image/{kind.lower()};base64,{text}'
    return Picture(src, alt, width, caption, width > image.shape[1])


def show_grid(gan: Any, seed: int) -> Picture:
    """Sample a grid, smaller for larger images.

    Args:
        gan (nn.Module): A GAN in evaluation mode.
        seed (int): Seed of noise and priors.

    Returns:
        Picture: Up to eight rows of eight.
    """
    first = _sample(gan, 1, seed)
    side = int(min(8, max(3, _MAX_GRID_PIXELS // first.shape[2])))
    images = _sample(gan, side * side, seed)
    width = min(960, side * max(72, min(160, images.shape[2])))
    alt = f'{side * side} samples of the generator in {side} rows'
    return encode_picture(make_grid(images, side), alt, width)


def show_walks(gan: Any, seed: int) -> list[Picture]:
    """Walk from one drawn prior to another, several times.

    Args:
        gan (nn.Module): A GAN in evaluation mode.
        seed (int): Seed of noise and priors.

    Returns:
        list[Picture]: One strip for each walk.

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


def show_nearest(gan: Any, cfg: Mapping[str, Any], seed: int) -> tuple[list[Comparison], list[str]]:
    """Put samples beside the training images that they look most like.

    Nearest by pixels, and by the features of the run's encoder where it has one.

    Args:
        gan (nn.Module): A GAN in evaluation mode.
        cfg (Mapping[str, Any]): The run's config; ``train_dataloader`` and ``encoder`` are read.
        seed (int): Seed of the samples, the first of those in the grid.

    Returns:
        tuple[list[Comparison], list[str]]: The samples, and notes that explain the distances.

    Raises:
        FileNotFoundError: The training images are not there.
        ValueError: They cannot be read.
    """
    view = TrainingView(DATASETS.build(view_config(cfg['train_dataloader']['dataset'])))
    rows = list(range(len(view)))
    if len(rows) > MAX_SEARCHED:
        chosen = np.random.default_rng(seed).choice(len(rows), MAX_SEARCHED, replace=False)
        rows = sorted(chosen.tolist())
    samples = _sample(gan, NUM_COMPARED, seed)
    spaces = {
        'nearest by pixels': find_nearest(flatten_pixels(samples), view, rows, flatten_pixels)
    }
    notes = [
        'Distance of pixels: root of the mean squared difference, where black and white are 255 '
        f'apart. {_say_typical(spaces["nearest by pixels"])}'
    ]
    encoder_cfg = cfg.get('encoder')
    if encoder_cfg and can_encode_new_images(encoder_cfg):
        try:
            space = get_space('prior', encoder_cfg)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            notes.append(f"The run's encoder is not at hand: {error}")
        else:
            encode = functools.partial(_encode, space)
            nearest = find_nearest(encode(samples), view, rows, encode)
            spaces['nearest by features'] = nearest
            notes.append(f"Distance of the encoder's features: Euclidean. {_say_typical(nearest)}")
    if len(rows) < len(view):
        notes.append(
            f'Looked at {len(rows):,} of the {len(view):,} training images, drawn by seed.'
        )
    return _compare(samples, spaces, view), notes


def _sample(gan: Any, num: int, seed: int) -> np.ndarray:
    noise, prior = draw_inputs(gan, num, seed)
    return np.concatenate(list(sample_images(gan, noise, prior)))


def _encode(space: FeatureSpace, images: np.ndarray) -> Tensor:
    return space.features(torch.from_numpy(np.ascontiguousarray(images)))


def _say_typical(nearest: Nearest) -> str:
    if nearest.typical == 0:
        return 'Most training images are there more than once: distances have nothing to go by.'
    if not nearest.typical > 0:
        return 'Training images have no others that they could be compared with.'
    return (
        f'1x is {nearest.typical:.3g}, the median distance of a training image to its nearest '
        'other one; a sample far below 1x repeats.'
    )


def _compare(samples: np.ndarray, spaces: dict[str, Nearest], view: Any) -> list[Comparison]:
    row_of = {key: row for row, key in enumerate(view.keys)}
    width = max(72, min(112, samples.shape[2]))
    compared = []
    for index, sample in enumerate(samples):
        found = []
        for space, nearest in spaces.items():
            pictures = []
            columns = (nearest.keys[index], nearest.distances[index], nearest.views[index])
            for key, distance, side in zip(*columns, strict=True):
                mirrored = ', mirrored' if side else ''
                alt = f'Training image {key}{mirrored}, of sample {index + 1} {space}'
                image = view[row_of[key]][side]
                caption = f'{distance:.3g}'
                if nearest.typical > 0:
                    caption += f'\n({distance / nearest.typical:.1f}x)'
                picture = encode_picture(image, alt, width, caption)
                pictures.append(picture)
            found.append((space, pictures))
        shown = encode_picture(sample, f'Sample {index + 1}', width, str(index + 1))
        compared.append(Comparison(shown, found))
    return compared
