"""Sizes and schedule for a folder of images that nobody has trained on before."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ['Schedule', 'choose_for_config', 'choose_schedule']

SIZES = (32, 64, 128)
"""Image sizes that are chosen by themselves; the generators know larger ones on request."""

IMAGES_SHOWN_AT_100 = 3_000_000
"""As configs/disp_sngan_anime100.py: 30,000 steps x 4 x batch 25; not stated in the paper."""

GROWTH = 0.29
"""To 30,000 steps x batch 256 at 2,500 images; not stated in the paper."""

CPU_SHARE = 100
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

    Returns:
        Schedule: The choice.

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
    shown = IMAGES_SHOWN_AT_100 * (num / 100) ** GROWTH / (1 if has_gpu else CPU_SHARE)
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
                else f'{CPU_SHARE} times fewer than on a GPU, for a first look'
            ),
        ),
    )


def choose_for_config(cfg: Mapping[str, Any], given: set[str]) -> dict[str, Any]:
    """Choose what a ``sized_by_data`` config leaves open, and print the choice with its reasons.

    Args:
        cfg (Mapping[str, Any]): The config, options merged; its ``data_root`` is looked into.
        given (set[str]): Dotted paths that the user gave: these are left alone.

    Returns:
        dict[str, Any]: Top-level field -> value, without those given. The bank file is named
        after folder, size and encoder, so that each combination has a bank of its own.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: It holds fewer than 2 images.
    """
    import torch

    data_root = Path(cfg['data_root'])
    dataset = cfg['train_dataloader']['dataset']
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    sides = _shorter_sides(data_root, dataset.get('ann_file') or '')
    try:
        schedule = choose_schedule(sides, torch.cuda.is_available())
    except ValueError as error:
        raise ValueError(f'{data_root}: {error}') from error
    chosen: dict[str, Any] = {}
    print(f'{data_root} holds {len(sides)} images. Chosen for them (--cfg-options overrides):')
    for name, reason in zip(
        ('image_size', 'batch_size', 'max_iters'), schedule.reasons, strict=True
    ):
        if name in given:
            print(f'  {name}={cfg[name]}: as you said')
        else:
            chosen[name] = getattr(schedule, name)
            print(f'  {reason}')
    if 'bank_file' not in given:
        size = chosen.get('image_size', cfg['image_size'])
        chosen['bank_file'] = _bank_name(cfg, data_root, size)
        print(f'  bank_file={chosen["bank_file"]}: one bank for each folder, size and encoder')
    return chosen


def _bank_name(cfg: Mapping[str, Any], data_root: Path, size: int) -> str:
    encoder = cfg['encoder']
    label = str(encoder.get('model') or encoder.get('arch') or encoder['type'])
    folder = data_root.resolve()
    # Folders of one name and encoders of one model differ in these eight characters.
    text = json.dumps([str(folder), encoder], sort_keys=True, default=str)
    name = f'{folder.name}_{size}px_{label}_{hashlib.sha256(text.encode()).hexdigest()[:8]}'
    return str(Path(cfg['bank_file']).with_name(f'{name.replace("/", "_")}.safetensors'))


def _shorter_sides(data_root: Path, ann_file: str) -> list[int]:
    """Read the shorter side of every readable image from its header."""
    from PIL import Image

    from disp_plugin.datasets import ImageFolderDataset

    dataset = ImageFolderDataset(data_root=str(data_root), ann_file=ann_file, pipeline=[])
    sides = []
    for row in range(len(dataset)):
        try:
            with Image.open(dataset.get_data_info(row)['gt_path']) as image:
                sides.append(min(image.size))
        except (OSError, Image.DecompressionBombError):
            continue  # The bank's pre-flight check reports every bad file at once.
    return sides
