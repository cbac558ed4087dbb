"""Build a bank: check every image, encode it in parts, merge the parts.

A part is the rows of some hundred images, a file of its own in ``<bank_file>.parts``, written whole
or not at all. A build that was stopped goes on by skipping the parts that exist; several processes
share the work by taking different parts, and the last one to end concatenates them.
"""

from __future__ import annotations

import shutil
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmagic.registry import MODELS
from mmengine.logging import print_log
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from disp_plugin.datasets import ImageViews
from disp_plugin.distributed import lock_file
from disp_plugin.encoders import PriorEncoder
from disp_plugin.files import get_free_bytes, write_file

from .check_bank import get_file_sizes, hash_dataset, simplify_config
from .encode_views import check_views, choose_num_workers, encode_views
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

_DTYPES = {'float16': np.float16, 'float32': np.float32}
_AMP_DTYPES = {'float16': torch.float16, 'bfloat16': torch.bfloat16}


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
    batch_size: int = 64,
    device: str | torch.device | None = None,
    amp: bool | str | None = None,
    dtype: str = 'float32',
    num_workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
) -> PriorBank:
    """Encode every image of a data set, as training shows it, and write the bank of its priors.

    First every image is decoded once, and all bad ones are reported together. Then batches of
    decoded images are encoded while others are decoded. A build that was stopped goes on where it
    was when it is called again; it gives the same bank bit for bit, with any number of processes,
    for the same ``batch_size``. The bank itself appears only complete. One that is up to date is
    opened as it is.

    Args:
        dataset (ImageViews): The images, such as an ``ImageFolderDataset``.
        encoder (PriorEncoder | Mapping): The encoder, or its config; a run with the same config
            then takes the bank at its word, and need not build the encoder to compare.
        bank_file (str | Path): File to write.
        batch_size (int): Views (images times flip views) in a forward. Defaults to 64.
        device (str | torch.device, optional): Where the encoder runs; it is moved there. Defaults
            to None: a GPU if there is one.
        amp (bool | str, optional): Autocast to 'float16' (the same as True) or 'bfloat16'. Defaults
            to None: float16 on a GPU, no autocast on CPU. Priors come out as float32 anyway.
        dtype (str): How priors are stored, 'float32' or 'float16'. Defaults to 'float32'.
        num_workers (int, optional): Processes that decode; 0: none. Defaults to None: by cores.
        progress (bool): Whether to show progress. Defaults to True.
        overwrite (bool): Whether a bank of other data or of another encoder, or a damaged one,
            may be replaced. Defaults to False.

    Returns:
        PriorBank: The bank, opened.

    Raises:
        ValueError: Bad images (all are listed), a prior that is not finite, options out of range,
            or another bank or file in the place of it.
        BankInUseError: Another process is building this bank.
        BankWriteError: No permission or no space.
    """
    build = _settle(dataset, encoder, bank_file, batch_size, device, amp, dtype)
    bank = _build_shard(build, Shard(), num_workers, progress, overwrite)
    if bank is None:
        raise BankInUseError(f'another process is writing {bank_file}; wait for it')
    return bank


def build_shard(
    dataset: ImageViews,
    encoder: PriorEncoder | Mapping[str, Any],
    bank_file: str | Path,
    shard: Shard,
    num_workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
    **options: Any,
) -> PriorBank | None:
    """Encode one share of the images, and write the bank if all others are done.

    Processes need no connection, only one folder. Options are those of :func:`build_bank`;
    ``batch_size``, ``device``, ``amp`` and ``dtype`` must be alike in all processes.

    Returns:
        PriorBank | None: The bank, opened; None where other processes have not done their share.

    Raises:
        ValueError: As for :func:`build_bank`; bad images are those of this share.
        BankInUseError: Another process is encoding the same share.
        BankWriteError: No permission or no space.
    """
    build = _settle(dataset, encoder, bank_file, **options)
    return _build_shard(build, shard, num_workers, progress, overwrite)


def merge_parts(
    dataset: ImageViews,
    encoder: PriorEncoder | Mapping[str, Any],
    bank_file: str | Path,
    wait_seconds: float = 0.0,
    overwrite: bool = False,
    **options: Any,
) -> PriorBank:
    """Write a bank from the parts of other processes, as soon as all are there.

    Options are those of the shards. It waits while parts come, but no longer than
    ``wait_seconds`` for the next one.

    Raises:
        ValueError: Parts are missing, and none came for so long; they are named.
    """
    build = _settle(dataset, encoder, bank_file, **options)
    return build.open_if_current(overwrite) or _wait_for_parts(build, wait_seconds, overwrite)


@dataclass(frozen=True)
class _Build:
    """A bank to build, with all that was asked for settled."""

    file: Path
    dataset: ImageViews
    order: list[int]  # index in the data set of each row
    keys: list[str]
    paths: list[str]
    file_sizes: np.ndarray
    encoder: PriorEncoder
    origin: BankOrigin
    batch_images: int
    device: torch.device
    amp_dtype: torch.dtype | None
    dtype: np.dtype

    @property
    def folder(self) -> Path:
        return Path(f'{self.file}.parts')

    @property
    def row_shape(self) -> tuple[int, int]:
        return self.dataset.num_views, self.encoder.prior_dim

    @property
    def part_images(self) -> int:
        return max(1, PART_IMAGES // self.batch_images) * self.batch_images

    @property
    def num_parts(self) -> int:
        return -(-len(self.keys) // self.part_images)

    def rows(self, part: int) -> range:
        return range(len(self.keys))[part * self.part_images : (part + 1) * self.part_images]

    def part_file(self, part: int) -> Path:
        return self.folder / f'part-{part:05d}'

    def count_bytes(self, num_images: int) -> int:
        return num_images * int(np.prod(self.row_shape)) * self.dtype.itemsize

    def identify(self, part: int) -> dict[str, str]:
        rows = self.rows(part)
        return {
            'encoder': self.origin.encoder_fingerprint,
            'data set': self.origin.dataset_fingerprint,
            'precision': self.origin.precision,
            'dtype': str(self.dtype),
            'batch size': f'{rows.start}-{rows.stop} in batches of {self.batch_images}',
        }

    def write_part(self, part: int, rows: np.ndarray) -> None:
        metadata = {**self.identify(part), 'crc32': str(zlib.crc32(rows.data))}
        file = self.part_file(part)
        try:
            # not synced: its checksum tells whether it outlived a failure of power
            write_file(file, save({'priors': rows}, metadata), is_durable=False)
        except OSError as error:
            raise BankWriteError.explain(error, file) from error

    def read_metadata(self, part: int) -> dict[str, str]:
        try:
            with safe_open(self.part_file(part), 'np') as file:
                return file.metadata() or {}
        except (OSError, SafetensorError):
            return {}

    def read_part(self, part: int) -> np.ndarray | None:
        """Read the rows of a part; None where there is none of this build, or a damaged one."""
        try:
            with safe_open(self.part_file(part), 'np') as file:
                metadata, rows = file.metadata() or {}, file.get_tensor('priors')
        except (OSError, SafetensorError):
            return None
        is_ours = {**self.identify(part), 'crc32': str(zlib.crc32(rows.data))} == metadata
        return rows if is_ours else None

    def explain_discard(self, part: int) -> str:
        """Say why the file of a part is not used, as far as its header tells."""
        metadata = self.read_metadata(part)
        other = [name for name, value in self.identify(part).items() if metadata.get(name) != value]
        if metadata and other:
            return f'it belongs to another {" and ".join(other)}'
        return 'it is damaged'

    def list_parts(self) -> list[int]:
        """List the parts that are there, without reading their rows."""
        parts = range(self.num_parts)
        return [p for p in parts if self.identify(p).items() <= self.read_metadata(p).items()]

    def open_if_current(self, overwrite: bool) -> PriorBank | None:
        """Open the bank that is there if it is the one to build; refuse to replace another one."""
        if not self.file.exists():
            return None
        try:
            bank = PriorBank.open(self.file)
            if overwrite:
                bank.verify()
        except DamagedBankError:
            if not overwrite:
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
        other = [name for name, (there, wanted) in compared.items() if there != wanted]
        if not other:
            print_log(f'prior bank {self.file} is up to date')
            return bank
        if not overwrite:
            raise ValueError(
                f'prior bank {self.file} is there already, with other {", ".join(other)} than '
                'would be built now; replace it with --overwrite, or write another file with '
                '--bank-file'
            )
        print_log(f'prior bank {self.file} has other {", ".join(other)}: replacing it')
        return None


def choose_amp(amp: bool | str | None, device: torch.device) -> torch.dtype | None:
    """Choose the type of autocast, as for :func:`build_bank`; None for no autocast."""
    if amp is None:
        amp = device.type == 'cuda'
    if isinstance(amp, bool):
        return torch.float16 if amp else None
    if amp not in _AMP_DTYPES:
        raise ValueError(f"amp must be a bool, 'float16' or 'bfloat16', but is {amp!r}")
    return _AMP_DTYPES[amp]


def _settle(
    dataset: ImageViews,
    encoder: PriorEncoder | Mapping[str, Any],
    bank_file: str | Path,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    amp: bool | str | None = None,
    dtype: str = 'float32',
) -> _Build:
    if not isinstance(dataset, ImageViews):
        raise ValueError(
            f'a bank is built from a data set that states how its images are seen, such as '
            f'ImageFolderDataset, but {type(dataset).__name__} does not; build the bank of its '
            'folder with tools/build_prior_bank.py --images FOLDER --image-size SIDE'
        )
    if dtype not in _DTYPES:
        raise ValueError(f"dtype must be 'float32' or 'float16', but is {dtype!r}")
    if batch_size < 1:
        raise ValueError(f'batch_size must be at least 1, but is {batch_size}')
    device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    amp_dtype = choose_amp(amp, device)
    keys, paths = dataset.image_keys, dataset.image_paths
    order = sorted(range(len(keys)), key=keys.__getitem__)
    keys, paths = [keys[index] for index in order], [paths[index] for index in order]
    if not keys:
        raise ValueError('the data set has no images, so there is no bank of it')
    sizes = get_file_sizes(paths)
    config = None if isinstance(encoder, PriorEncoder) else simplify_config(encoder)
    built = encoder if isinstance(encoder, PriorEncoder) else MODELS.build(dict(encoder))
    origin = BankOrigin(
        encoder=dict(built.describe()),
        encoder_fingerprint=built.fingerprint(),
        encoder_config=config,
        view=dataset.describe_view(),
        dataset_fingerprint=hash_dataset(dataset.describe_view(), keys, sizes),
        precision=str(amp_dtype or torch.float32).removeprefix('torch.'),
    )
    return _Build(
        file=Path(bank_file),
        dataset=dataset,
        order=order,
        keys=keys,
        paths=paths,
        file_sizes=sizes,
        encoder=built,
        origin=origin,
        batch_images=max(1, batch_size // dataset.num_views),
        device=device,
        amp_dtype=amp_dtype,
        dtype=np.dtype(_DTYPES[dtype]),
    )


def _build_shard(
    build: _Build, shard: Shard, num_workers: int | None, progress: bool, overwrite: bool
) -> PriorBank | None:
    bank = build.open_if_current(overwrite)
    if bank is not None:
        # Left where a build was stopped between its last two steps.
        shutil.rmtree(build.folder, ignore_errors=True)
        return bank
    if num_workers is None:
        num_workers = choose_num_workers(len(build.keys), build.device.type == 'cuda')
    _encode_shard(build, shard, num_workers, progress)
    bank = _merge_if_complete(build, overwrite)
    if bank is None:
        missing = build.num_parts - len(build.list_parts())
        print_log(f'{build.file} will be written by the last to finish ({missing} parts to come)')
    return bank


def _encode_shard(build: _Build, shard: Shard, num_workers: int, progress: bool) -> None:
    """Check and encode the images of a shard, or what an earlier build left of them."""
    parts = shard.take(build.num_parts)
    if not parts:
        return
    with _lock(build, f'shard-{shard.number}-of-{shard.count}') as is_free:
        if not is_free:
            raise BankInUseError(
                f'another process is building this bank ({build.folder} is in use); wait for it, '
                'or choose another file with --bank-file'
            )
        missing = [part for part in parts if build.read_part(part) is None]
        for part in missing:
            if build.part_file(part).exists():
                file, reason = build.part_file(part), build.explain_discard(part)
                print_log(f'{file} of an earlier build is not used: {reason}')
                break
        rows = [row for part in missing for row in build.rows(part)]
        _check_space(build, len(rows))
        dataset, order, paths = build.dataset, build.order, build.paths
        if len(missing) == len(parts):
            # with the first image of all, whose size other processes compare theirs with
            chosen = sorted({0, *rows})
            files = [paths[row] for row in chosen]
            check_views(dataset, [order[row] for row in chosen], files, num_workers, progress)
        elif missing:
            print_log(f'going on at image {rows[0]} of {len(build.keys)} ({build.folder})')
        batches = [
            [order[row] for row in build.rows(part)[start : start + build.batch_images]]
            for part in missing
            for start in range(0, len(build.rows(part)), build.batch_images)
        ]
        encoded = encode_views(
            build.encoder, dataset, batches, num_workers, build.device, build.amp_dtype, progress
        )
        for part in missing:
            build.write_part(part, _collect(build, part, encoded))
    if shard.count > 1:
        print_log(f'{shard} is done: {len(parts)} of {build.num_parts} parts')


def _collect(build: _Build, part: int, encoded: Iterator[np.ndarray]) -> np.ndarray:
    """Take a part's priors, converted to what is stored; name the first that is not finite."""
    rows = build.rows(part)
    stored = np.empty((len(rows), *build.row_shape), build.dtype)
    done = 0
    while done < len(rows):
        priors = next(encoded)
        if priors.shape[1:] != build.row_shape:
            raise ValueError(
                f'the encoder gave priors of shape {priors.shape[1:]}, but its prior_dim says '
                f'{build.row_shape}'
            )
        batch = stored[done : done + len(priors)]
        with np.errstate(over='ignore'):
            batch[:] = priors
        bad = np.flatnonzero(~np.isfinite(batch).all(axis=(1, 2)))
        if len(bad):
            path = build.paths[rows[done + bad[0]]]
            if np.isfinite(priors[bad[0]]).all():
                cure = 'it is too large for float16; store float32 (--dtype float32)'
            elif build.amp_dtype is not None:
                cure = 'autocast may have overflowed; encode without it (--amp off)'
            else:
                cure = "the encoder's weights are damaged, or it cannot handle such an image"
            raise ValueError(f'the prior of image {path} is not finite: {cure}')
        done += len(priors)
    return stored


def _merge_if_complete(build: _Build, overwrite: bool) -> PriorBank | None:
    """Write the bank if all parts are there and nobody else is writing it."""
    if len(build.list_parts()) < build.num_parts:
        # Another process may have merged, and removed the parts, in the meantime.
        return build.open_if_current(overwrite)
    with _lock(build, 'merge') as is_free:
        if not is_free:
            return None
        bank = build.open_if_current(overwrite)
        if bank is None:
            shape = (len(build.keys), *build.row_shape)
            keys, sizes = pack_keys(build.keys), build.file_sizes
            blocks = _read_parts(build)
            write_bank(build.file, keys, sizes, build.origin, blocks, shape, build.dtype)
            bank = PriorBank.open(build.file)
    shutil.rmtree(build.folder, ignore_errors=True)
    return bank


def _read_parts(build: _Build) -> Iterable[np.ndarray]:
    for part in range(build.num_parts):
        rows = build.read_part(part)
        if rows is None:
            build.part_file(part).unlink(missing_ok=True)
            raise ValueError(
                f'{build.part_file(part)} was damaged and is deleted; run the same command again'
            )
        yield rows


def _wait_for_parts(build: _Build, wait_seconds: float, overwrite: bool) -> PriorBank:
    """Merge as soon as all parts are there; raise if none came for too long."""
    num_seen, since = -1, time.monotonic()
    while True:
        bank = _merge_if_complete(build, overwrite)
        if bank is not None:
            return bank
        missing = sorted({*range(build.num_parts)} - {*build.list_parts()})
        if len(missing) != num_seen:
            num_seen, since = len(missing), time.monotonic()
        if time.monotonic() - since >= wait_seconds:
            first = ', '.join(build.part_file(part).name for part in missing[:3])
            raise ValueError(
                f'{build.file} cannot be written: {len(missing)} of {build.num_parts} parts are '
                f'missing ({first or "another process is writing the bank"}), and none came for '
                f'{wait_seconds / 60:.1f} minutes. Start the processes that have not finished '
                'again, with the same options and --shard I/N'
            )
        time.sleep(POLL_SECONDS)


def _check_space(build: _Build, num_images: int) -> None:
    """Raise if parts and bank, which are on disk together at the end, do not fit."""
    num_bytes = build.count_bytes(num_images) + build.count_bytes(len(build.keys))
    free = get_free_bytes(build.file.parent)
    if num_images and free < num_bytes:
        raise BankWriteError(
            f'no space left to build the prior bank {build.file}: {num_bytes / 1e9:.2f} GB are '
            f'needed in {build.file.parent}, {free / 1e9:.2f} GB are free; free some, store '
            "dtype='float16', or choose another place with --bank-file"
        )


@contextmanager
def _lock(build: _Build, name: str) -> Iterator[bool]:
    """Lock a file in the folder of the parts; yield False where another process has it."""
    file = build.folder / f'{name}.lock'
    try:
        build.folder.mkdir(parents=True, exist_ok=True)
        file.touch()
    except OSError as error:
        raise BankWriteError.explain(error, build.file) from error
    try:
        with lock_file(file, timeout=0) as is_free:
            yield is_free
    finally:
        if is_free:
            file.unlink(missing_ok=True)
            with suppress(OSError):
                build.folder.rmdir()  # where nothing was encoded
