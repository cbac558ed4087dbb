"""The bank: the priors of a data set's images, found by image key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .bank_errors import REBUILD_COMMAND, DamagedBankError
from .bank_file import hash_bank, read_bank_file, write_bank_file
from .bank_origin import BankOrigin
from .block_checks import NoChecks
from .check_origin import describe_dataset_change, describe_encoder_change
from .key_index import KeyIndex
from .prior_rows import as_rows, to_float32
from .training_view import TrainingView


class PriorBank:
    """Data instance priors C(x) of M images, by image key, in one or both flip views.

    A bank is opened from the file that ``build_bank`` wrote, memory-mapped, so that it need not fit
    into memory and the workers of a data loader share its pages; pickled, an opened bank is its
    path. One made from arrays lives in memory.

    Legend: M images, V views (1: as loaded; 2: as loaded, and flipped horizontally), D prior_dim.

    Args:
        keys (Sequence[str]): M distinct image keys, in any order; rows are kept sorted by key.
        priors (np.ndarray | torch.Tensor): (M,D) or (M,V,D), float16 or float32 (other floats are
            stored as float32), finite.
        file_sizes (Sequence[int], optional): Size in bytes of each image's file. Defaults to None:
            zeros.
        origin (BankOrigin, optional): What the priors were made from. Defaults to None: unknown.

    Raises:
        ValueError: Repeated keys, no rows, shapes that do not fit, or a prior that is not finite.

    Examples:
        >>> bank = PriorBank(["a.png", "b.png"], torch.eye(2))
        >>> bank.lookup(["b.png"])
        tensor([[0., 1.]])
    """

    def __init__(
        self,
        keys: Sequence[str],
        priors: np.ndarray | torch.Tensor,
        file_sizes: Sequence[int] | np.ndarray | None = None,
        origin: BankOrigin | None = None,
    ) -> None:
        rows = as_rows(priors, len(keys))
        order = sorted(range(len(keys)), key=keys.__getitem__)
        sizes = np.zeros(len(keys)) if file_sizes is None else np.asarray(file_sizes)
        self._keys = KeyIndex.from_keys([keys[i] for i in order])
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=(1, 2)))
        if len(bad):
            raise ValueError(f'the prior of image {keys[bad[0]]!r} is not finite')
        self._priors = rows[order]
        self._file_sizes = sizes[order].astype(np.int64)
        self._origin = origin or BankOrigin()
        self._fingerprint = ''
        self._checks = NoChecks()
        self._path: Path | None = None
        self._mmap = False

    @classmethod
    def open(cls, path: str | Path, mmap: bool = True) -> PriorBank:
        """Open a bank file.

        Args:
            path (str | Path): Bank file.
            mmap (bool): Map it into memory rather than read it. Defaults to True.

        Returns:
            PriorBank: The bank.

        Raises:
            FileNotFoundError: There is no such file; the message has the command that builds it.
            ValueError: It is no bank, a bank of a newer version, truncated or altered.
        """
        content = read_bank_file(path, mmap)
        bank = cls.__new__(cls)
        bank._keys = content.keys
        bank._priors = content.priors
        bank._file_sizes = content.file_sizes
        bank._origin = content.origin
        bank._fingerprint = content.fingerprint
        bank._checks = content.checks
        bank._path = Path(path).absolute()
        bank._mmap = mmap
        return bank

    def __reduce__(self) -> str | tuple[Any, ...]:
        if self._path is not None:
            return (_reopen, (str(self._path), self._mmap, self._fingerprint))
        arguments = (list(self._keys), self._priors, self._file_sizes, self._origin)
        return (type(self), arguments)

    def save(self, path: str | Path) -> None:
        """Write the bank to a file, whole or not at all.

        Args:
            path (str | Path): File to write; replaced only once the new one is complete.

        Raises:
            BankWriteError: No permission or no space; nothing half-written is left.
        """
        write_bank_file(
            path,
            self._keys,
            self._file_sizes,
            self._origin,
            self._blocks,
            (self.num_images, self.num_views, self.prior_dim),
            self._priors.dtype,
        )

    @property
    def keys(self) -> KeyIndex:
        """KeyIndex: The image keys, sorted: a sequence of str that holds no object per key."""
        return self._keys

    @property
    def priors(self) -> np.ndarray:
        """np.ndarray: All priors (M,V,D) as stored, rows in the order of ``keys``; read-only.

        Nobody compares them with their checksums on this way; ``take`` and ``iter_chunks`` do.
        """
        view = self._priors.view()
        view.flags.writeable = False
        return view

    @property
    def file_sizes(self) -> np.ndarray:
        """np.ndarray: Size in bytes of each image's file, (M,), int64."""
        self._checks.touch('file_sizes')
        return self._file_sizes

    @property
    def origin(self) -> BankOrigin:
        """BankOrigin: What the bank was made from."""
        return self._origin

    @property
    def path(self) -> Path | None:
        """Path | None: The bank's file, None for a bank in memory."""
        return self._path

    @property
    def num_images(self) -> int:
        """int: M."""
        return self._priors.shape[0]

    @property
    def num_views(self) -> int:
        """int: V, 1 or 2."""
        return self._priors.shape[1]

    @property
    def prior_dim(self) -> int:
        """int: D."""
        return self._priors.shape[2]

    @property
    def fingerprint(self) -> str:
        """str: Hash of keys, file sizes, priors and encoder, as hex."""
        if not self._fingerprint:
            self._fingerprint = self._hash()
        return self._fingerprint

    def __len__(self) -> int:
        return self.num_images

    def __repr__(self) -> str:
        where = self._path or 'in memory'
        return (
            f'PriorBank({where}: {self.num_images} images, '
            f'{self.num_views} view(s), {self.prior_dim}-d {self._priors.dtype})'
        )

    def lookup(self, keys: Sequence[str], flipped: bool | Sequence[bool] = False) -> torch.Tensor:
        """Look up the priors of images.

        Args:
            keys (Sequence[str]): N image keys, repeats allowed.
            flipped (bool | Sequence[bool]): Whether to give the prior of the horizontally flipped
                view, for all or for each key. Defaults to False.

        Returns:
            torch.Tensor: (N,D) float32, a copy.

        Raises:
            ValueError: A key that the bank lacks, or a flipped view of a bank that has none.
        """
        rows = np.fromiter((self._row(key) for key in keys), dtype=np.int64, count=len(keys))
        views = np.asarray(flipped, dtype=np.int64)
        if views.ndim and len(views) != len(keys):
            raise ValueError(f'flipped has {len(views)} entries for {len(keys)} keys')
        if self.num_views == 1 and views.any():
            raise ValueError(
                f'{self._name()} holds no priors of flipped images, and a flipped one was asked '
                f'for; rebuild it from a config with a horizontal Flip before LoadPrior: '
                f'{REBUILD_COMMAND.format(self._path or "BANK")}; or take Flip out of the pipeline'
            )
        return to_float32(self.take(rows, views))

    def take(self, rows: np.ndarray, views: np.ndarray | int = 0) -> np.ndarray:
        """Copy the priors of some rows.

        Args:
            rows (np.ndarray): (N,) int64, in [0,M), in the order of ``keys``.
            views (np.ndarray | int): View of each, or of all. Defaults to 0: as loaded.

        Returns:
            np.ndarray: (N,D), as stored.

        Raises:
            ValueError: A block of the file was altered; the message names it.
        """
        self._checks.touch_rows('priors', rows)
        return self._priors[rows, views]

    def sample(self, num: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draw priors of images, uniformly and with repetition, in the view as loaded.

        Args:
            num (int): How many.
            generator (torch.Generator, optional): CPU generator. Defaults to None: torch's global.

        Returns:
            torch.Tensor: (num,D) float32.
        """
        if num < 0:
            raise ValueError(f'num must not be negative, but is {num}')
        rows = torch.randint(self.num_images, (num,), generator=generator).numpy()
        return to_float32(self.take(rows))

    def iter_chunks(self, size: int = 4096) -> Iterator[torch.Tensor]:
        """Go through all priors in blocks, so that no more than one must fit into memory.

        Args:
            size (int): Images in a block. Defaults to 4096.

        Yields:
            torch.Tensor: (n,V,D) float32, n <= size, in the order of ``keys``.
        """
        for block in self._blocks(size):
            yield to_float32(block.copy())

    def select(self, keys: Sequence[str]) -> PriorBank:
        """Take some images, for a run on a part of the data.

        Args:
            keys (Sequence[str]): Distinct image keys.

        Returns:
            PriorBank: Those images only, with this bank's origin; of an opened bank, the priors
            stay in its file.

        Raises:
            ValueError: A key that the bank lacks, or repeated keys.
        """
        rows = np.array([self._row(key) for key in keys], dtype=np.int64)
        if self._path is None:
            return PriorBank(keys, self.priors[rows], self.file_sizes[rows], self._origin)
        from .bank_part import BankPart  # which is a bank itself

        return BankPart(self, np.sort(rows))

    def restrict_to(self, dataset: Any) -> PriorBank:
        """Leave out the images that a data set does not have.

        What is fitted to a bank, a sampler or a normalization, must not see images that the run
        does not train on.

        Args:
            dataset (Dataset): Built data set with an ``image_key`` per image, wrapped or not.

        Returns:
            PriorBank: This bank where the data set has all of its images, else a part of it.

        Raises:
            ValueError: The data set has an image that the bank lacks.
        """
        keys = TrainingView(dataset).keys
        part = len(keys) < self.num_images
        for key in () if part else keys:
            self._row(key)
        return self.select(keys) if part else self

    def mean_cosine(self, max_images: int = 1000, seed: int = 0) -> float:
        """Tell how parallel the priors are: the mean cosine between those of two images.

        Features after a ReLU are nearly parallel (about 0.8), so that conditions barely differ
        unless the GAN centers them (``prior_norm='centered_l2'``).

        Args:
            max_images (int): Estimate from this many images at most. Defaults to 1000.
            seed (int): Seed of that choice. Defaults to 0.

        Returns:
            float: In [-1,1]; 0.0 for a bank of one image.
        """
        if self.num_images < 2:
            return 0.0
        num = min(max_images, self.num_images)
        rows = np.random.default_rng(seed).choice(self.num_images, num, replace=False)
        priors = self.take(np.sort(rows)).astype(np.float64)
        priors /= np.maximum(np.linalg.norm(priors, axis=1, keepdims=True), 1e-12)
        # |sum of unit vectors|^2 is the sum over all pairs, each vector with itself included.
        own = float((priors**2).sum())
        return (float((priors.sum(axis=0) ** 2).sum()) - own) / (num * (num - 1))

    def check_encoder(self, encoder: Any) -> None:
        """Make sure that the bank's priors are those of an encoder.

        Args:
            encoder (PriorEncoder | dict): A built encoder, its ``describe()``, or its config. A
                config equal to the bank's is taken at its word; any other is built and compared.

        Raises:
            ValueError: They are not; the message names what differs.
        """
        change = describe_encoder_change(encoder, self._origin)
        if change:
            raise ValueError(
                f'{self._name()} holds priors of another encoder: {change}. Set the encoder back, '
                f'or rebuild the bank: {REBUILD_COMMAND.format(self._path or "BANK")}'
            )

    def check_dataset(self, dataset: Any) -> None:
        """Make sure that the bank has the prior of every image of a data set, as it is on disk.

        Image keys, file sizes and the pipeline are compared; no image is read. The bank may hold
        more images than the data set: a run on a part of the data can use the bank of all.

        Args:
            dataset (Dataset): Built data set with an ``image_key`` per image, wrapped or not.

        Raises:
            ValueError: It has not; the message names what differs.
        """
        change = describe_dataset_change(dataset, self)
        if change:
            raise ValueError(
                f'{self._name()} does not match the data set: {change}. Rebuild it: '
                f'{REBUILD_COMMAND.format(self._path or "BANK")}'
            )

    def verify(self) -> None:
        """Read the whole bank and compare it with what was written: every block, key and hash.

        Raises:
            DamagedBankError: The file was altered, or its keys are not in order.
        """
        self._checks.check_all()
        try:
            self._keys.check_sorted()
            change = '' if self._fingerprint in ('', self._hash()) else 'priors or sizes differ'
        except ValueError as error:
            change = str(error)
        if change:
            problem = f'its content is not what was written ({change})'
            raise DamagedBankError.explain(self._path or 'in memory', f'it was altered: {problem}')

    def _row(self, key: str) -> int:
        row = self._keys.find(key)
        if row < 0:
            raise ValueError(
                f'{self._name()} has no prior for image {key!r} (it has {self.num_images} images, '
                f'from {self._keys[0]!r} to {self._keys[-1]!r}); rebuild it for this data set: '
                f'{REBUILD_COMMAND.format(self._path or "BANK")}'
            )
        return row

    def _hash(self) -> str:
        dtype = self._priors.dtype
        return hash_bank(self._keys, self._file_sizes, self._origin, self._blocks(), dtype)

    def _blocks(self, size: int = 4096) -> Iterator[np.ndarray]:
        for start in range(0, self.num_images, size):
            self._checks.touch('priors', start, min(start + size, self.num_images))
            yield self._priors[start : start + size]

    def _name(self) -> str:
        return f'prior bank {self._path}' if self._path else 'the prior bank in memory'


def _reopen(path: str, mmap: bool, fingerprint: str) -> PriorBank:
    bank = PriorBank.open(path, mmap)
    if bank.fingerprint != fingerprint:
        raise ValueError(f'prior bank {path} was rebuilt while it was in use; start the run again')
    return bank
