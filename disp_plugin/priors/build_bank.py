"""Build a bank: check every image, encode it in parts, merge the parts.

A part is the rows of some hundred images, a file of its own in ``<bank_file>.parts``, written whole
or not at all. A build that was stopped goes on by skipping the parts that exist; several processes
share the work by taking different parts, and the last one to end concatenates them.
"""

from __future__ import annotations

import shutil
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmagic.registry import MODELS
from mmengine.logging import print_log
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from disp_plugin.datasets import ImageViews, check_views
from disp_plugin.datasets.image_views import choose_num_workers, load_views, stack_views
from disp_plugin.distributed import lock_file
from disp_plugin.encoders import PriorEncoder
from disp_plugin.files import get_free_bytes, write_file
from disp_plugin.progress import track

from .check_bank import get_file_sizes, hash_dataset, simplify_config
from .prior_bank import (
    BankOrigin,
    BankWriteError,
    DamagedBankError,
    PriorBank,
    pack_keys,
    write_bank,
)

PART_IMAGES = 256
"""Images of a part, rounded down to whole batches."""

POLL_SECONDS = 1.0


class BankInUseError(ValueError):
    """Another process is building this bank, or this share of it."""


@dataclass(frozen=True)
class Shard:
    """One of ``count`` shares of a bank's images; ``number`` counts from 1."""

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(
                f'there is no shard {self.number} of {self.count}; shards are counted from 1, as '
                f'in --shard 1/{max(1, self.count)}'
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read a shard as a command line has it, such as '2/4'."""
        number, _, count = text.partition('/')
        if not (number.isdecimal() and count.isdecimal()):
            raise ValueError(f'a shard must be given as I/N, such as 2/4, but is {text!r}')
        return cls(int(number), int(count))

    def __str__(self) -> str:
        return f'shard {self.number} of {self.count}'

    def take(self, num_parts: int) -> range:
        """Choose its parts: a run of them, empty where there are fewer parts than shards."""
        return range(
            num_parts * (self.number - 1) // self.count, num_parts * self.number // self.count
        )


def build_bank(
    dataset: ImageViews,
    encoder: PriorEncoder | Mapping[str, Any],
    bank_file: str | Path,
    num_workers: int | None = None,
    progress: bool = True,
    **settings: Any,
) -> PriorBank:
    """Encode every image of a data set, as training shows it, and write the bank of its priors.

    A bank that is up to date is opened as it is.

    Args:
        dataset (ImageViews): The images, such as an ``ImageFolderDataset``.
        encoder (PriorEncoder | Mapping): The encoder, or its config.
        bank_file (str | Path): File to write.
        num_workers (int, optional): Processes that decode; 0: none. Defaults to None: by cores.
        progress (bool): Whether to show progress. Defaults to True.
        **settings: Other settings of :class:`BankBuild`.

    Returns:
        PriorBank: The bank, opened.

    Raises:
        ValueError: As for :meth:`BankBuild.run`.
        BankInUseError: Another process is building this bank.
        BankWriteError: No permission or no space.
    """
    build = BankBuild(dataset, encoder, bank_file, **settings)
    bank = build.run(num_workers=num_workers, progress=progress)
    if bank is None:
        raise BankInUseError(f'another process is writing {bank_file}; wait for it')
    return bank


class BankBuild:
    """The build of a bank, by one process or by several that share nothing but a folder.

    First every image is decoded once, and all bad ones are reported together. Then batches of
    decoded images are encoded while others are decoded. A build that was stopped goes on where it
    was; it gives the same bank bit for bit, with any number of processes, for the same
    ``batch_size``. The bank itself appears only complete.

    Args:
        dataset (ImageViews): The images, such as an ``ImageFolderDataset``.
        encoder (PriorEncoder | Mapping): The encoder, or its config; a run with the same config
            then takes the bank at its word, and need not build the encoder to compare.
        bank_file (str | Path): File to write.
        batch_size (int): Views (images times flip views) in a forward. Defaults to 64.
        device (str | torch.device, optional): Where the encoder runs; it is moved there. Defaults
            to None: a GPU if there is one.
        dtype (str): How priors are stored, 'float32' or 'float16'. Defaults to 'float32'.
        overwrite (bool): Whether a bank of other data or of another encoder, or a damaged one,
            may be replaced. Defaults to False.

    Raises:
        ValueError: An option is out of range, or the data set states no view or has no image.
    """

    def __init__(
        self,
        dataset: ImageViews,
        encoder: PriorEncoder | Mapping[str, Any],
        bank_file: str | Path,
        batch_size: int = 64,
        device: str | torch.device | None = None,
        dtype: str = 'float32',
        overwrite: bool = False,
    ) -> None:
        if not isinstance(dataset, ImageViews):
            raise ValueError(
                f'a bank is built from a data set that states how its images are seen, such as '
                f'ImageFolderDataset, but {type(dataset).__name__} does not; build the bank of its '
                'folder with tools/build_prior_bank.py --images FOLDER --image-size SIDE'
            )
        if dtype not in ('float32', 'float16'):
            raise ValueError(f"dtype must be 'float32' or 'float16', but is {dtype!r}")
        if batch_size < 1:
            raise ValueError(f'batch_size must be at least 1, but is {batch_size}')
        self.dataset, self.dtype, self.overwrite = dataset, np.dtype(dtype), overwrite
        self.file, self.folder = Path(bank_file), Path(f'{bank_file}.parts')
        self.device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        keys, paths = dataset.image_keys, dataset.image_paths
        if not keys:
            raise ValueError('the data set has no images, so there is no bank of it')
        self.order = sorted(range(len(keys)), key=keys.__getitem__)  # row -> index in the data set
        self.keys = [keys[index] for index in self.order]
        self.paths = [paths[index] for index in self.order]
        self.batch_images = max(1, batch_size // dataset.num_views)
        size = max(1, PART_IMAGES // self.batch_images) * self.batch_images
        rows = range(len(keys))
        self.parts = [rows[start : start + size] for start in rows[::size]]
        self.file_sizes = get_file_sizes(self.paths)
        if isinstance(encoder, PriorEncoder):
            self.encoder, config = encoder, None
        else:
            self.encoder, config = MODELS.build(dict(encoder)), simplify_config(encoder)
        self.encoder.to(self.device)
        view = dataset.describe_view()
        self.origin = BankOrigin(
            encoder=dict(self.encoder.describe()),
            encoder_fingerprint=self.encoder.fingerprint(),
            encoder_config=config,
            view=view,
            dataset_fingerprint=hash_dataset(view, self.keys, self.file_sizes),
            precision=str(self.encoder.dtype).removeprefix('torch.'),
        )
        self.row_shape = dataset.num_views, self.encoder.prior_dim

    def run(
        self, shard: Shard | None = None, num_workers: int | None = None, progress: bool = True
    ) -> PriorBank | None:
        """Encode one share of the images, and write the bank if all others are done.

        All processes must have the same settings.

        Args:
            shard (Shard, optional): The share. Defaults to None: all images.
            num_workers (int, optional): Processes that decode; 0: none. Defaults to None: by cores.
            progress (bool): Whether to show progress. Defaults to True.

        Returns:
            PriorBank | None: The bank, opened; None where other processes have not done their
            share.

        Raises:
            ValueError: Bad images in this share (all are listed), a prior that is not finite, or
                another bank or file in the place of this one.
            BankInUseError: Another process is encoding the same share.
            BankWriteError: No permission or no space.
        """
        bank = self._open_if_current()
        if bank is not None:
            # Left where a build was stopped between its last two steps.
            shutil.rmtree(self.folder, ignore_errors=True)
            return bank
        if num_workers is None:
            num_workers = choose_num_workers(len(self.keys), self.device.type == 'cuda')
        self._encode_shard(shard or Shard(), num_workers, progress)
        bank = self._merge_if_complete()
        if bank is None:
            num = len(self._list_missing())
            print_log(f'{self.file} will be written by the last to finish ({num} parts to come)')
        return bank

    def merge(self, wait_seconds: float = 0.0) -> PriorBank:
        """Write the bank from the parts of other processes, as soon as all are there.

        Args:
            wait_seconds (float): How long to wait for the next part. Defaults to 0.0.

        Raises:
            ValueError: Parts are missing, and none came for so long; they are named.
        """
        num_seen, since = -1, time.monotonic()
        while (bank := self._merge_if_complete()) is None:
            missing = self._list_missing()
            if len(missing) != num_seen:
                num_seen, since = len(missing), time.monotonic()
            if time.monotonic() - since >= wait_seconds:
                first = ', '.join(self._get_part_file(part).name for part in missing[:3])
                raise ValueError(
                    f'{self.file} cannot be written: {len(missing)} of {len(self.parts)} parts are '
                    f'missing ({first or "another process is writing the bank"}), and none came '
                    f'for {wait_seconds / 60:.1f} minutes. Start the processes that have not '
                    'finished again, with the same options and --shard I/N'
                )
            time.sleep(POLL_SECONDS)
        return bank

    def _open_if_current(self) -> PriorBank | None:
        """Open the bank that is there if it is the one to build; refuse to replace another one."""
        if not self.file.exists():
            return None
        try:
            bank = PriorBank.open(self.file)
            bank.verify()
        except DamagedBankError:
            if not self.overwrite:
                raise
            print_log(f'prior bank {self.file} is damaged: replacing it')
            return None
        compared = {
            'data': (bank.origin.dataset_fingerprint, self.origin.dataset_fingerprint),
            'encoder': (bank.origin.encoder_fingerprint, self.origin.encoder_fingerprint),
            'precision': (bank.origin.precision, self.origin.precision),
            'number of views': (bank.num_views, self.dataset.num_views),
            'dtype': (bank.priors.dtype, self.dtype),
        }
        other = ', '.join(name for name, (there, wanted) in compared.items() if there != wanted)
        if not other:
            print_log(f'prior bank {self.file} is up to date')
            return bank
        if not self.overwrite:
            raise ValueError(
                f'prior bank {self.file} is there already, with other {other} than would be built '
                'now; replace it with --overwrite, or write another file with --bank-file'
            )
        print_log(f'prior bank {self.file} has other {other}: replacing it')
        return None

    def _encode_shard(self, shard: Shard, num_workers: int, progress: bool) -> None:
        """Check and encode the images of a shard, or what an earlier build left of them."""
        parts = shard.take(len(self.parts))
        if not parts:
            return
        with self._lock(f'shard-{shard.number}-of-{shard.count}') as is_free:
            if not is_free:
                raise BankInUseError(
                    f'another process is building this bank ({self.folder} is in use); wait for '
                    'it, or choose another file with --bank-file'
                )
            faults = {part: self._read_part(part)[0] for part in parts}
            missing = [part for part, fault in faults.items() if fault]
            unused = [part for part in missing if self._get_part_file(part).exists()]
            if unused:
                file, fault = self._get_part_file(unused[0]), faults[unused[0]]
                print_log(f'{file} of an earlier build is not used: {fault}')
            rows = [row for part in missing for row in self.parts[part]]
            self._check_space(len(rows))
            if len(missing) == len(parts):
                # with the first image of all, whose size other processes compare theirs with
                chosen = [self.order[row] for row in sorted({0, *rows})]
                check_views(self.dataset, chosen, num_workers, progress)
            elif missing:
                print_log(f'going on at image {rows[0]} of {len(self.keys)} ({self.folder})')
            encoded = self._encode(missing, num_workers, progress)
            for part in missing:
                self._write_part(part, self._collect(part, encoded))
        if shard.count > 1:
            print_log(f'{shard} is done: {len(parts)} of {len(self.parts)} parts')

    @torch.inference_mode()
    def _encode(self, parts: list[int], num_workers: int, progress: bool) -> Iterator[np.ndarray]:
        """Yield the priors (n,V,D) float32 of each batch, a GPU one batch ahead of its copies."""
        batches = [
            [self.order[row] for row in self.parts[part][start : start + self.batch_images]]
            for part in parts
            for start in range(0, len(self.parts[part]), self.batch_images)
        ]
        on_gpu = self.device.type == 'cuda'
        load = partial(stack_views, self.dataset)
        loader = load_views(load, batches, num_workers, pin_memory=on_gpu)
        unit = self.batch_images
        copies: list[tuple[torch.Tensor, torch.cuda.Event | None]] = []
        for views in track(loader, len(batches), 'encoding images', progress, unit=unit):
            priors = self.encoder.encode(views.flatten(0, 1)).unflatten(0, views.shape[:2])
            done = torch.cuda.Event() if on_gpu else None
            copies.append((priors.to('cpu', non_blocking=on_gpu), done))
            if done is not None:
                done.record()
            if len(copies) > 1 or not on_gpu:
                yield _end_copy(*copies.pop(0))
        yield from (_end_copy(*copy) for copy in copies)

    def _collect(self, part: int, encoded: Iterator[np.ndarray]) -> np.ndarray:
        """Take a part's priors, converted to what is stored; name the first that is not finite."""
        rows = self.parts[part]
        stored = np.empty((len(rows), *self.row_shape), self.dtype)
        done = 0
        while done < len(rows):
            priors = next(encoded)
            if priors.shape[1:] != self.row_shape:
                raise ValueError(
                    f'the encoder gave priors of shape {priors.shape[1:]}, but its prior_dim says '
                    f'{self.row_shape}'
                )
            batch = stored[done : done + len(priors)]
            with np.errstate(over='ignore'):
                batch[:] = priors
            bad = np.flatnonzero(~np.isfinite(batch).all(axis=(1, 2)))
            if len(bad):
                path = self.paths[rows[done + bad[0]]]
                if np.isfinite(priors[bad[0]]).all():
                    cure = 'it is too large for float16; store float32 (--dtype float32)'
                elif self.origin.precision != 'float32':
                    cure = f'{self.origin.precision} may have overflowed; set --precision float32'
                else:
                    cure = "the encoder's weights are damaged, or it cannot handle such an image"
                raise ValueError(f'the prior of image {path} is not finite: {cure}')
            done += len(priors)
        return stored

    def _get_part_file(self, part: int) -> Path:
        return self.folder / f'part-{part:05d}'

    def _identify(self, part: int) -> dict[str, str]:
        rows = self.parts[part]
        return {
            'encoder': self.origin.encoder_fingerprint,
            'data set': self.origin.dataset_fingerprint,
            'precision': self.origin.precision,
            'dtype': str(self.dtype),
            'batch size': f'{rows.start}-{rows.stop} in batches of {self.batch_images}',
        }

    def _write_part(self, part: int, rows: np.ndarray) -> None:
        metadata = {**self._identify(part), 'crc32': str(zlib.crc32(rows.data))}
        file = self._get_part_file(part)
        try:
            # not synced: its checksum tells whether it outlived a failure of power
            write_file(file, save({'priors': rows}, metadata), is_durable=False)
        except OSError as error:
            raise BankWriteError.explain(error, file) from error

    def _read_part(self, part: int, header_only: bool = False) -> tuple[str, np.ndarray | None]:
        """Read a part: why it cannot be used, '' if it can, and its rows."""
        rows = None
        try:
            with safe_open(self._get_part_file(part), 'np') as file:
                metadata = file.metadata() or {}
                if not header_only:
                    rows = file.get_tensor('priors')
        except (OSError, SafetensorError):
            return 'it is damaged', None
        expected = self._identify(part)
        other = [name for name, value in expected.items() if metadata.get(name) != value]
        if other:
            return f'it belongs to another {" and ".join(other)}', None
        if rows is not None and metadata.get('crc32') != str(zlib.crc32(rows.data)):
            return 'it is damaged', None
        return '', rows

    def _list_missing(self) -> list[int]:
        """List the parts that are not there, without reading the rows of the others."""
        parts = range(len(self.parts))
        return [part for part in parts if self._read_part(part, header_only=True)[0]]

    def _merge_if_complete(self) -> PriorBank | None:
        """Write the bank if all parts are there and nobody else is writing it."""
        if self._list_missing():
            # Another process may have merged, and removed the parts, in the meantime.
            return self._open_if_current()
        with self._lock('merge') as is_free:
            if not is_free:
                return None
            bank = self._open_if_current()
            if bank is None:
                shape = (len(self.keys), *self.row_shape)
                keys, sizes, blocks = pack_keys(self.keys), self.file_sizes, self._read_parts()
                write_bank(self.file, keys, sizes, self.origin, blocks, shape, self.dtype)
                bank = PriorBank.open(self.file)
        shutil.rmtree(self.folder, ignore_errors=True)
        return bank

    def _read_parts(self) -> Iterator[np.ndarray]:
        for part in range(len(self.parts)):
            _, rows = self._read_part(part)
            if rows is None:
                file = self._get_part_file(part)
                file.unlink(missing_ok=True)
                raise ValueError(f'{file} was damaged and is deleted; run the same command again')
            yield rows

    def _check_space(self, num_images: int) -> None:
        """Raise if parts and bank, which are on disk together at the end, do not fit."""
        row_bytes = int(np.prod(self.row_shape)) * self.dtype.itemsize
        num_bytes = row_bytes * (num_images + len(self.keys))
        free = get_free_bytes(self.file.parent)
        if num_images and free < num_bytes:
            raise BankWriteError(
                f'no space left to build the prior bank {self.file}: {num_bytes / 1e9:.2f} GB are '
                f'needed in {self.file.parent}, {free / 1e9:.2f} GB are free; free some, store '
                "dtype='float16', or choose another place with --bank-file"
            )

    @contextmanager
    def _lock(self, name: str) -> Iterator[bool]:
        """Lock a file in the folder of the parts; yield False where another process has it."""
        file = self.folder / f'{name}.lock'
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file.touch()
        except OSError as error:
            raise BankWriteError.explain(error, self.file) from error
        try:
            with lock_file(file, timeout=0) as is_free:
                yield is_free
        finally:
            if is_free:
                file.unlink(missing_ok=True)
                with suppress(OSError):
                    self.folder.rmdir()  # where nothing was encoded


def _end_copy(priors: torch.Tensor, done: torch.cuda.Event | None) -> np.ndarray:
    if done is not None:
        done.synchronize()
    return priors.numpy()
