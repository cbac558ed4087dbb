"""Held-out images must not be training images, nor copies of them."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable

from mmengine.logging import print_log

__all__ = ['MAX_COPIES', 'check_disjoint']

MAX_COPIES = 0.01
"""Share of held-out files that may be copies: data sets have a few duplicates."""


def check_disjoint(train: Iterable[str], held_out: Iterable[str], what: str) -> None:
    """Refuse held-out images that are training images.

    Files are compared by path, and those of equal size by content.

    Args:
        train (Iterable[str]): Paths of the training images.
        held_out (Iterable[str]): Paths of the others.
        what (str): Names the others, for the message.

    Raises:
        ValueError: Some are the same files, or more than :data:`MAX_COPIES` are copies.
    """
    folders: dict[str, str] = {}

    def resolve(path: str) -> str:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        return os.path.join(folders[folder], name)

    unseen = {resolve(path) for path in held_out}
    seen = [resolve(path) for path in train]
    same = sum(path in unseen for path in set(seen))
    way_out = 'name images that the run does not train on (for a run on a folder: in another one)'
    if same:
        raise ValueError(
            f'{same} of the {len(unseen)} images of {what} are training images, so that nothing '
            f'could be told by them; {way_out}'
        )
    copies = _count_copies(seen, unseen)
    if copies > MAX_COPIES * len(unseen):
        raise ValueError(
            f'{copies} of the {len(unseen)} images of {what} are copies of training images, so '
            f'that nothing could be told by them; {way_out}'
        )
    if copies:
        print_log(
            f'{copies} of the {len(unseen)} images of {what} are copies of training images',
            logger='current',
            level=logging.WARNING,
        )


def _count_copies(seen: Iterable[str], unseen: Iterable[str]) -> int:
    by_size: dict[int, list[str]] = {}
    for path in unseen:
        by_size.setdefault(_size(path), []).append(path)
    by_size.pop(-1, None)
    of_size = [path for path in seen if _size(path) in by_size]
    sizes = {_size(path) for path in of_size}
    known = {_hash(path) for path in of_size}
    return sum(_hash(path) in known for size in sizes for path in by_size[size])


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def _hash(path: str) -> bytes:
    with open(path, 'rb') as file:
        return hashlib.sha256(file.read()).digest()
