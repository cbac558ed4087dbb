"""Compare a bank with the encoder and the data set of a run; name what differs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from mmagic.registry import MODELS

from disp_plugin.datasets import ImageViews
from disp_plugin.encoders import PriorEncoder

from .load_prior import list_images, open_dataset
from .prior_bank import REBUILD_COMMAND, PriorBank


def check_encoder(bank: PriorBank, encoder: PriorEncoder | Mapping[str, Any]) -> None:
    """Check that a bank's priors are those of an encoder.

    Args:
        bank (PriorBank): The bank.
        encoder (PriorEncoder | Mapping): The encoder, or its config. A config equal to the bank's
            is taken at its word, unless it names a checkpoint that is there and may have changed;
            any other is built and compared. One whose precision is 'auto' takes the bank's.

    Raises:
        ValueError: They are not; the message names what differs.
    """
    if isinstance(encoder, PriorEncoder):
        built = encoder
    elif simplify_config(encoder) == bank.origin.encoder_config and not (
        encoder.get('checkpoint') and os.path.isfile(encoder['checkpoint'])
    ):
        return
    else:
        built = MODELS.build(dict(encoder))
    if built.precision == 'auto':
        built.precision = bank.origin.precision  # which another machine may have chosen
    fingerprint = built.fingerprint()
    if fingerprint == bank.origin.encoder_fingerprint:
        return
    change = _describe_fields(built.describe(), bank.origin.encoder) or (
        f"its fingerprint is {fingerprint[:12]}, the bank's is "
        f'{bank.origin.encoder_fingerprint[:12] or "unknown"}'
    )
    raise ValueError(
        f'{bank.name} holds priors of another encoder: {change}. Set the encoder back, or rebuild '
        f'the bank: {REBUILD_COMMAND.format(bank.path or "BANK")}'
    )


def check_dataset(bank: PriorBank, dataset: Any) -> None:
    """Check that a bank has the prior of every image of a data set, as it is on disk.

    Image keys, file sizes and the view are compared; no image is read. The bank may hold more
    images than the data set: a run on a part of the data can use the bank of all.

    Args:
        bank (PriorBank): The bank.
        dataset (Dataset): The data set, as for :func:`list_images`.

    Raises:
        ValueError: It has not; the message names what differs.
    """
    images = list_images(dataset)
    rows, is_there = bank.search(images.keys)
    sizes = get_file_sizes(images.paths)
    # A bank made from arrays does not know the sizes of files.
    changed = (sizes != bank.file_sizes[rows]) & (sizes >= 0) & bool(bank.file_sizes.any())
    found = [
        (~is_there, 'no prior in it'),
        (is_there & changed, 'another file size than when it was built'),
        (is_there & (sizes < 0), 'no file any more'),
    ]
    problems = [_describe_images(images.keys, wrong, what) for wrong, what in found]
    views = open_dataset(dataset)
    if isinstance(views, ImageViews):
        if bank.origin.view:
            problems.append(_describe_fields(views.describe_view(), bank.origin.view))
        if views.num_views > bank.num_views:
            problems.append('the data set flips images, but it holds no priors of flipped images')
    change = '; '.join(filter(None, problems))
    if change:
        raise ValueError(
            f'{bank.name} does not match the data set: {change}. Rebuild it: '
            f'{REBUILD_COMMAND.format(bank.path or "BANK")}'
        )


def get_file_sizes(paths: Sequence[str]) -> np.ndarray:
    """Ask the file system for the size of each file in bytes, (M,) int64; -1 for no file."""
    sizes = np.full(len(paths), -1, np.int64)
    for row, path in enumerate(paths):
        with suppress(OSError):
            sizes[row] = os.stat(path).st_size
    return sizes


def hash_dataset(view: Mapping[str, Any], keys: Sequence[str], sizes: np.ndarray) -> str:
    """Hash a view's description, the image keys and the file sizes, as hex."""
    digest = hashlib.sha256(json.dumps(view, sort_keys=True).encode())
    for key, size in zip(keys, sizes.tolist(), strict=True):
        digest.update(f'{key}\0{size}\n'.encode())
    return digest.hexdigest()


def simplify_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Write a config in JSON types without ``_scope_``, for two equal ones to compare equal."""
    plain = {name: value for name, value in config.items() if name != '_scope_'}
    return json.loads(json.dumps(plain, default=str))


def _describe_fields(fields: Mapping[str, Any], built: Mapping[str, Any]) -> str:
    names = [name for name in {**built, **fields} if fields.get(name) != built.get(name)]
    return ', '.join(
        f"{name} is {_short(fields.get(name))}, the bank's is {_short(built.get(name))}"
        for name in names
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f'{text[:97]}...'


def _describe_images(keys: list[str], wrong: np.ndarray, what: str) -> str:
    chosen = [keys[index] for index in np.flatnonzero(wrong)]
    if not chosen:
        return ''
    first = ', '.join(chosen[:3]) + (', ...' if len(chosen) > 3 else '')
    verb = 'have' if len(chosen) > 1 else 'has'
    return f'{len(chosen)} of {len(keys)} images {verb} {what} ({first})'
