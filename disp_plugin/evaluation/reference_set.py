"""Real images that a metric compares with, and their features, each computed once and kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disp_plugin.priors import PriorBank, TrainingView, build_bank
from disp_plugin.priors.bank_errors import DamagedBankError
from disp_plugin.priors.lock_file import lock_file
from disp_plugin.priors.training_view import unwrap_dataset

from .feature_space import FeatureSpace

__all__ = ['BrokenImagesError', 'ReferenceSet']

CACHE_DIR = 'data/features'
MAX_IMAGES = 50000
"""As many as published FIDs take at most; a larger set is represented by a seeded choice."""


class BrokenImagesError(ValueError):
    """Real images that cannot be read, without which nothing can be measured."""


class ReferenceSet:
    """The training set, or a held-out split, as training shows it.

    Features are kept in ``cache_dir``, one file for each pair of images and encoder: another file,
    another date, another step of the pipeline or other weights make another file.

    Args:
        dataset (Dataset): Built data set, wrapped or not; a random flip in its pipeline gives a
            second, mirrored view of every image.
        split (str): Name of the split, such as 'val'.
        cache_dir (str | Path): Folder of the features. Defaults to 'data/features'.
        max_images (int): More are not used. Defaults to 50000.

    Raises:
        ValueError: The data set is empty or its pipeline draws at random.
    """

    def __init__(
        self,
        dataset: Any,
        split: str,
        cache_dir: str | Path = CACHE_DIR,
        max_images: int = MAX_IMAGES,
    ) -> None:
        dataset = unwrap_dataset(dataset)
        if len(dataset) > max_images:
            chosen = np.random.default_rng(0).choice(len(dataset), max_images, replace=False)
            dataset = dataset.get_subset(sorted(chosen.tolist()))
        self.view = TrainingView(dataset)
        self.view.check_deterministic()
        self.split = split
        self.cache_dir = Path(cache_dir)
        self.data_root = str(getattr(dataset, 'data_root', ''))
        self._fingerprint = self.view.fingerprint(self.view.file_sizes())
        self._features: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.view)

    @property
    def flips(self) -> bool:
        """bool: Whether mirrored views are in it."""
        return self.view.num_views == 2

    def images(self, rows: list[int] | range) -> np.ndarray:
        """Decode some of the images.

        Args:
            rows (list[int] | range): Their rows, in the order of image keys.

        Returns:
            np.ndarray: (n, H, W, 3) uint8 RGB, not mirrored.
        """
        return np.stack([self.view[row][0] for row in rows])

    def batches(self, batch_size: int) -> Iterator[np.ndarray]:
        """Decode all images in turn.

        Args:
            batch_size (int): Images at a time.

        Yields:
            np.ndarray: (n, H, W, 3) uint8 RGB, not mirrored.
        """
        for start in range(0, len(self), batch_size):
            yield self.images(range(start, min(start + batch_size, len(self))))

    def features(self, space: FeatureSpace, mirrored: bool = False) -> Tensor:
        """Look the features up, or compute them and keep them.

        Args:
            space (FeatureSpace): Where to.
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
                bank = self._open(space.encoder)
            except ValueError as error:
                raise BrokenImagesError(f'the {self.split} images: {error}') from error
            views = [bank.take(np.arange(len(bank)), view) for view in range(bank.num_views)]
            self._features[known] = torch.from_numpy(np.concatenate(views)).float()
        features = self._features[known]
        return features if mirrored else features[: len(self)]

    def describe(self) -> dict[str, Any]:
        """Say which images these are, for a card.

        Returns:
            dict[str, Any]: ``data_root``, ``split``, ``num``, ``flips`` and ``fingerprint``.
        """
        return {
            'data_root': self.data_root,
            'split': self.split,
            'num': len(self),
            'flips': self.flips,
            'fingerprint': self._fingerprint,
        }

    def _open(self, encoder: Any) -> PriorBank:
        file = self.cache_dir / f'{self._identify(encoder)}.safetensors'
        file.parent.mkdir(parents=True, exist_ok=True)
        # Another evaluation may be computing the same: wait for it.
        with open(file.with_suffix('.lock'), 'w') as lock:
            lock_file(lock, lock.name, 'evaluate the same images in one process at a time', True)
            try:
                if file.is_file():
                    bank = PriorBank.open(file)
                    bank.verify()
                    return bank
            except DamagedBankError:
                file.unlink()
            return build_bank(self.view.dataset, encoder, file, amp=False)

    def _identify(self, encoder: Any) -> str:
        digest = hashlib.sha256(f'{self._fingerprint} {encoder.fingerprint()}'.encode())
        for path in self.view.paths:
            status = os.stat(path)  # a copy that keeps its date has another time of change
            dates = f'{status.st_mtime_ns} {status.st_ctime_ns}'
            digest.update(f'{os.path.abspath(path)} {dates}\n'.encode())
        return digest.hexdigest()[:24]
