"""Real images that a metric compares with, and their features, each computed once and kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from torch import Tensor

from disp_plugin.datasets import ImageViews
from disp_plugin.distributed import lock_file
from disp_plugin.priors import DamagedBankError, PriorBank, build_bank

from .metric_card import ImageSet
from .spaces import FeatureSpace

__all__ = ['BrokenImagesError', 'ReferenceSet', 'check_disjoint']

CACHE_DIR = 'data/features'
MAX_IMAGES = 50000
"""As many as published FIDs take at most; a larger set is represented by a seeded choice."""
MAX_COPIES = 0.01
"""Fraction of held-out files that may be copies: data sets have a few duplicates."""


class BrokenImagesError(ValueError):
    """Real images cannot be read; without them nothing can be measured."""


class ReferenceSet:
    """The training set, or a held-out split, as training shows it.

    Features are kept in ``cache_dir``, one file for each pair of images and encoder: another file,
    another date, another view or other weights make another file.

    Args:
        images (BaseDataset): Data set that states its views, wrapped or not, such as an
            ``ImageFolderDataset``.
        split (str): Name of the split, such as 'val'.
        cache_dir (str | Path): Folder of the features. Defaults to 'data/features'.
        max_images (int): More are not used. Defaults to 50000.

    Raises:
        ValueError: The data set states no views.
    """

    def __init__(
        self,
        images: BaseDataset,
        split: str,
        cache_dir: str | Path = CACHE_DIR,
        max_images: int = MAX_IMAGES,
    ) -> None:
        while hasattr(images, 'dataset'):
            images = images.dataset
        if len(images) > max_images:
            chosen = np.random.default_rng(0).choice(len(images), max_images, replace=False)
            images = images.get_subset(sorted(chosen.tolist()))
        if not isinstance(images, ImageViews):
            raise ValueError(
                f'a {type(images).__name__} does not say how its images are seen; give the '
                "metrics dict(type='ImageFolderDataset', data_root=..., image_size=...)"
            )
        self.views: ImageViews = images
        self.split = split
        self.cache_dir = Path(cache_dir)
        self.paths = images.image_paths
        self.data_root = str(getattr(images, 'data_root', ''))
        self._fingerprint = self._hash_images()
        self._features: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def images(self, rows: Iterable[int]) -> np.ndarray:
        """Decode images, by their rows in the order of image keys: (n, H, W, 3) uint8 RGB."""
        return np.stack([self.views.view(row) for row in rows])

    def features(self, space: FeatureSpace, mirrored: bool = False) -> Tensor:
        """Look the features up, or compute them and keep them.

        Args:
            space (FeatureSpace): In which space.
            mirrored (bool): Whether those of the mirrored views follow, where there are such.
                Defaults to False.

        Returns:
            Tensor: (M, F) float32 in the order of image keys, or (M times views, F).

        Raises:
            BrokenImagesError: An image cannot be read, or has features that are not finite.
        """
        known = space.encoder.fingerprint()
        if known not in self._features:
            try:
                bank = self._open(space)
            except ValueError as error:
                raise BrokenImagesError(f'the {self.split} images: {error}') from error
            views = [bank.take(np.arange(len(bank)), view) for view in range(bank.num_views)]
            self._features[known] = torch.from_numpy(np.concatenate(views)).float()
        features = self._features[known]
        return features if mirrored else features[: len(self)]

    def describe(self, mirrored: bool = True) -> ImageSet:
        """Say which images these are, for a card, and whether mirrored views were used, too."""
        flips = mirrored and self.views.num_views == 2
        return ImageSet(self.split, len(self), self.data_root, flips, self._fingerprint)

    def _hash_images(self) -> str:
        digest = hashlib.sha256(json.dumps(self.views.describe_view(), sort_keys=True).encode())
        for key, path in zip(self.views.image_keys, self.paths, strict=True):
            digest.update(f'{key}\0{_size(path)}\n'.encode())
        return digest.hexdigest()

    def _open(self, space: FeatureSpace) -> PriorBank:
        file = self.cache_dir / f'{self._identify(space)}.safetensors'
        file.parent.mkdir(parents=True, exist_ok=True)
        # Another evaluation may be computing the same: wait for it.
        with lock_file(file.with_suffix('.lock')):
            try:
                if file.is_file():
                    bank = PriorBank.open(file)
                    bank.verify()
                    return bank
            except DamagedBankError:
                file.unlink()
            return build_bank(self.views, space.encoder, file)

    def _identify(self, space: FeatureSpace) -> str:
        digest = hashlib.sha256(f'{self._fingerprint} {space.encoder.fingerprint()}'.encode())
        digest.update(str(self.views.num_views).encode())
        for path in self.paths:
            status = os.stat(path)  # a copy that keeps its date has another time of change
            dates = f'{status.st_mtime_ns} {status.st_ctime_ns}'
            digest.update(f'{os.path.abspath(path)} {dates}\n'.encode())
        return digest.hexdigest()[:24]


def check_disjoint(
    known: Iterable[str],
    held_out: Iterable[str],
    what: str,
    role: str = 'training images',
    way_out: str = '',
) -> None:
    """Raise if held-out images are known ones, or mostly copies of them.

    Files are compared by path, and those of equal size by content.

    Args:
        known (Iterable[str]): Paths of the images that a run knows.
        held_out (Iterable[str]): Paths of the others.
        what (str): What messages call the others.
        role (str): What messages call the known ones. Defaults to 'training images'.
        way_out (str): What messages advise. Defaults to '': what helps with training images.

    Raises:
        ValueError: Some are the same files, or more than 1 % are copies.
    """
    way_out = (
        way_out
        or 'name images that the run does not train on (for a run on a folder: in another one)'
    )
    unseen = {os.path.realpath(path) for path in held_out}
    seen = {os.path.realpath(path) for path in known}
    if seen & unseen:
        raise ValueError(
            f'{len(seen & unseen)} of the {len(unseen)} images of {what} are {role}, so that '
            f'they tell nothing; {way_out}'
        )
    by_size: dict[int, list[str]] = {}
    for path in unseen:
        by_size.setdefault(_size(path), []).append(path)
    by_size.pop(-1, None)
    same_size = [path for path in seen if _size(path) in by_size]
    known = {_hash(path) for path in same_size}
    candidates = {path for other in same_size for path in by_size[_size(other)]}
    copies = sum(_hash(path) in known for path in candidates)
    told = f'{copies} of the {len(unseen)} images of {what} are copies of {role}'
    if copies > MAX_COPIES * len(unseen):
        raise ValueError(f'{told}, so that they tell nothing; {way_out}')
    if copies:
        print_log(told, logger='current', level=logging.WARNING)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def _hash(path: str) -> bytes:
    return hashlib.sha256(Path(path).read_bytes()).digest()
