"""Sizes and schedule for a folder of images that nobody has trained on before."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from statistics import median

import torch
from mmengine.config import Config
from PIL import Image

from disp_plugin.cli.config import build_training_set
from disp_plugin.datasets import ImageViews
from disp_plugin.settings import find_places, get_value

__all__ = ['Schedule', 'choose_options', 'choose_schedule']

SIZES = (32, 64, 128)
"""Image sizes that are chosen by themselves; the generators know larger ones on request."""

IMAGES_SHOWN_AT_100 = 3_000_000
"""As configs/disp_sngan_anime100.py: 30,000 steps x 4 x batch 25; not stated in the paper."""

GROWTH = 0.29
"""To 30,000 steps x batch 256 at 2,500 images; not stated in the paper."""

CPU_DIVISOR = 100
"""Without a GPU, this many times fewer images are shown: a first look, not the final model."""


@dataclass(frozen=True)
class Schedule:
    """What was chosen, and why.

    Args:
        image_size (int): Height and width of training images, in pixels.
        batch_size (int): Images of one batch.
        max_iters (int): Batches shown to the discriminator.
        reasons (tuple[str, ...]): One sentence for each of the three.
    """

    image_size: int
    batch_size: int
    max_iters: int
    reasons: tuple[str, ...]


def choose_schedule(sides: list[int], has_gpu: bool) -> Schedule:
    """Choose sizes from the number of images and their shorter sides.

    Args:
        sides (list[int]): Shorter side of each image, in pixels.
        has_gpu (bool): Whether training runs on a GPU.

    Raises:
        ValueError: There are fewer than 2 images.
    """
    num = len(sides)
    if num < 2:
        raise ValueError(
            f'{num} image{"" if num == 1 else "s"} found: a GAN needs at least 2 images, and '
            'about 100 before its pictures are of any use'
        )
    side = int(median(sides))
    largest = SIZES[-1] if has_gpu else SIZES[0]
    image_size = max([size for size in SIZES if size <= min(side, largest)], default=SIZES[0])
    most = 64 if has_gpu else 16
    batch_size = min(most, 2 ** (num.bit_length() - 1))
    shown = IMAGES_SHOWN_AT_100 * (num / 100) ** GROWTH / (1 if has_gpu else CPU_DIVISOR)
    unit = 1000 if has_gpu else 100
    max_iters = max(unit, round(shown / batch_size / unit) * unit)
    machine = 'on a GPU' if has_gpu else 'without a GPU'
    return Schedule(
        image_size,
        batch_size,
        max_iters,
        (
            f'image_size={image_size}: the largest of {", ".join(map(str, SIZES))} that enlarges '
            f'no image of median size ({side} px), at most {largest} {machine}',
            f'batch_size={batch_size}: the largest power of two not above {num} images, '
            f'at most {most} {machine}',
            f'max_iters={max_iters}: about {max_iters * batch_size:,} images shown, '
            + (
                "between this project's schedules for 100 and 2,500 images"
                if has_gpu
                else f'{CPU_DIVISOR} times fewer than on a GPU, for a first look'
            ),
        ),
    )


def choose_options(cfg: Config, given: Set[str]) -> dict[str, object]:
    """Choose sizes for the images of a config, and print them with their reasons.

    Args:
        cfg (Config): The config, with the options of the command line merged.
        given (Set[str]): Options that the user gave: these are left alone.

    Returns:
        dict[str, object]: ``image_size``, ``batch_size``, ``max_iters`` and ``bank_file``, without
        those given; for :func:`merge_options`. Each image size and encoder gets a bank of its own.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: It holds fewer than 2 images.
    """
    dataset = build_training_set(cfg)
    if not isinstance(dataset, ImageViews):
        raise ValueError(
            '--auto looks into a folder of images, but the training set is '
            f'{type(dataset).__name__}; train without it, or on an ImageFolderDataset'
        )
    data_root = get_value(cfg, find_places(cfg, 'data_root')[0])
    sides = _shorter_sides(dataset.image_paths)
    try:
        schedule = choose_schedule(sides, torch.cuda.is_available())
    except ValueError as error:
        raise ValueError(f'{data_root}: {error}') from error
    chosen: dict[str, object] = {}
    print(f'{data_root} holds {len(sides)} images. Chosen for them (--cfg-options overrides):')
    names = ('image_size', 'batch_size', 'max_iters')
    for name, reason in zip(names, schedule.reasons, strict=True):
        places = find_places(cfg, name)
        if given & {name, *places}:
            print(f'  {name}={get_value(cfg, places[0])}: as you said')
        else:
            chosen[name] = getattr(schedule, name)
            print(f'  {reason}')
    place = find_places(cfg, 'bank_file')[0]
    if get_value(cfg, place) and not given & {'bank_file', place}:
        size = chosen.get('image_size', get_value(cfg, find_places(cfg, 'image_size')[-1]))
        chosen['bank_file'] = _bank_name(cfg.get('encoder') or {}, size)
        print(f'  bank_file={chosen["bank_file"]}: one for each image size and encoder')
    return chosen


def _bank_name(encoder: Mapping[str, object], size: object) -> str:
    label = str(encoder.get('model') or encoder.get('arch') or encoder.get('type'))
    # Encoders of one model differ in these eight characters.
    text = json.dumps(encoder, sort_keys=True, default=str)
    code = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f'priors_{size}px_{label.replace("/", "_")}_{code}.safetensors'


def _shorter_sides(paths: Iterable[str]) -> list[int]:
    """Read the shorter side of every readable image from its header."""
    sides = []
    for path in paths:
        try:
            with Image.open(path) as image:
                sides.append(min(image.size))
        except (OSError, Image.DecompressionBombError):
            continue  # the check before building a bank reports every bad file at once
    return sides
