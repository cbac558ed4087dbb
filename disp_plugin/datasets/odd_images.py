"""What is odd about a set of images, told before any work: copies, tiny images, a narrow range."""

import hashlib
import logging
import math
import os
import warnings
from collections import defaultdict
from collections.abc import Iterable

from PIL import Image

from .decode_image import BadImageError, decode_image, holds_16_bits
from .image_folder_dataset import tell
from .image_views import ImageViews, unwrap_dataset

MAX_IMAGES = 10_000
"""Of more images, blocks of neighbors that are as many: files are opened, which takes time."""

_BLOCK = 500
_MAX_DECODED = 32
_HEAD_BYTES = 4096
_FRACTION = 1 / 8


def tell_odd_images(dataset: object) -> None:
    """Warn of what :func:`find_odd_images` finds; of another kind of data set nothing is known."""
    dataset = unwrap_dataset(dataset)
    for line in find_odd_images(dataset) if isinstance(dataset, ImageViews) else ():
        tell(line, logging.WARNING)


def find_odd_images(dataset: ImageViews) -> list[str]:
    """Describe what may spoil a training on images, with names of files.

    Told are copies byte for byte (links to one file among them), images less than half as large as
    they are shown, and 16-bit images that use less than an eighth of their range. Only headers are
    read, files of one size as far as they agree, and 32 of the 16-bit images. Of more than 10,000
    images as many are looked at.

    Returns:
        list[str]: A line for each kind of oddity.
    """
    keys, paths = dataset.image_keys, dataset.image_paths
    rows = choose_rows(len(paths), MAX_IMAGES)
    chosen = {paths[row]: keys[row] for row in rows}
    looked_at = f'{len(rows):,}' + (f' (of {len(paths):,})' if len(rows) < len(paths) else '')
    name = getattr(dataset, 'data_root', type(dataset).__name__)
    groups = [[chosen[path] for path in group] for group in find_copies(chosen)]
    lines = []
    if groups:
        groups.sort(key=len, reverse=True)
        num = sum(map(len, groups)) - len(groups)
        shown = '; '.join(
            ' = '.join([*g[:3], *(['...'] if len(g) > 3 else [])]) for g in groups[:3]
        )
        lines.append(
            f'{num} of {looked_at} images of {name} are copies of others, byte for byte, and count '
            f'as often: {shown}; leave copies out unless that is meant'
        )
    side = getattr(dataset, 'image_size', None) or 0
    small, wide = {}, []
    for path, key in chosen.items():
        size, is_wide = _read_header(path)
        if 2 * min(size) < side:
            small[key] = '{}x{}'.format(*size)
        if is_wide:
            wide.append(path)
    if small:
        shown = ', '.join(f'{key} ({size})' for key, size in list(small.items())[:3])
        lines.append(
            f'{len(small)} of {looked_at} images of {name} are enlarged more than twice to '
            f'image_size={side}, such as {shown}; leave them out, or set a smaller image_size'
        )
    return [*lines, *_judge_range(name, wide, getattr(dataset, 'white_level', None))]


def choose_rows(num: int, limit: int) -> list[int]:
    """Choose about ``limit`` of ``num`` rows in blocks of neighbors, all where they are no more."""
    step = max(1, math.ceil(num / limit))
    return [row for row in range(num) if row // _BLOCK % step == 0]


def find_copies(paths: Iterable[str]) -> list[list[str]]:
    """Group paths of equal content, links to one file among them; leave out those without another.

    Sizes come first, then the heads of files of one size, then the whole of those that agree.
    """
    files: dict[object, list[str]] = defaultdict(list)
    by_size: dict[object, list[object]] = defaultdict(list)
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue
        file = (status.st_dev, status.st_ino) if status.st_ino else path
        if file not in files:
            by_size[status.st_size].append(file)
        files[file].append(path)
    same = [group for size, group in by_size.items() if size]
    for num_bytes in (_HEAD_BYTES, None):
        same = [part for group in same for part in _split(group, files, num_bytes)]
    return [found for group in same if len(found := [p for f in group for p in files[f]]) > 1]


def _split(
    group: list[object], files: dict[object, list[str]], num_bytes: int | None
) -> list[list[object]]:
    """Split files of one size by what they begin with, or by all of it."""
    if len(group) == 1:
        return [group]
    parts: dict[object, list[object]] = defaultdict(list)
    for file in group:
        try:
            with open(files[file][0], 'rb') as stream:
                parts[hashlib.sha256(stream.read(num_bytes)).digest()].append(file)
        except OSError:  # told by whoever decodes it
            parts[file].append(file)
    return list(parts.values())


def _read_header(path: str) -> tuple[tuple[int, int], bool]:
    """Read an image's width and height and whether it has 16 bits; of a bad file, nothing odd."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            with Image.open(path) as image:
                return image.size, holds_16_bits(image)
    except Exception:  # as decoders raise; such a file is told when it is decoded
        return (10**9, 10**9), False


def _judge_range(name: str, wide: list[str], white_level: float | None) -> list[str]:
    brightest, num = 0, 0
    for path in wide[:: math.ceil(len(wide) / _MAX_DECODED) or 1]:
        try:
            brightest, num = max(brightest, int(decode_image(path, white_level).max())), num + 1
        except BadImageError:
            continue
    if not num or brightest >= 256 * _FRACTION:
        return []
    if white_level is None:
        bits = max(1, math.ceil(math.log2(max(brightest - 0.5, 0.5) * 257)))
        way_out = f'set white_level to what is white in them, such as {2**bits - 1} for {bits} bits'
    else:
        way_out = f'white_level is {white_level:g}, which seems too high'
    return [
        f'the 16-bit images of {name} use less than an eighth of their range: of {num} looked at, '
        f'none is brighter than {brightest} of 255, almost black; {way_out}'
    ]
