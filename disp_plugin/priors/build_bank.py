"""Build a bank: the one loop that runs an encoder over a data set."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmagic.registry import DATASETS, MODELS
from mmengine.logging import print_log

from disp_plugin.progress import track

from .bank_file import BankWriteError, DamagedBankError, write_bank_file
from .bank_origin import BankOrigin
from .check_origin import simplify_config
from .check_views import check_views
from .key_index import KeyIndex
from .load_views import choose_num_workers, make_loader
from .partial_bank import PartialBank, partial_path
from .prior_bank import PriorBank
from .training_view import TrainingView

SYNC_SECONDS = 10.0
_DTYPES = {'float16': np.float16, 'float32': np.float32}
_AMP_DTYPES = {'float16': torch.float16, 'bfloat16': torch.bfloat16}


def build_bank(
    cfg_or_dataset: Any,
    encoder: Any,
    bank_file: str | Path,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    amp: bool | str | None = None,
    dtype: str = 'float32',
    progress: bool = True,
    num_workers: int | None = None,
    overwrite: bool = False,
) -> PriorBank:
    """Encode every image of a data set, as training shows it, and write the bank of its priors.

    First every image is decoded once, and all bad ones are reported together. Then batches of
    decoded images are encoded while others are decoded, and each batch is on disk, in
    ``<bank_file>.part``, before the next: a build that was stopped goes on where it was when it
    is called again, and gives the same bank bit for bit (with the same ``batch_size``). The bank
    itself appears only complete. One that is up to date is opened as it is.

    Args:
        cfg_or_dataset (Config | dict | Dataset): A run's config (its
            ``train_dataloader.dataset`` is encoded), the config of a data set, or a data set.
        encoder (PriorEncoder | dict): The encoder or its config.
        bank_file (str | Path): File to write.
        batch_size (int): Views (images times flip views) in a forward. Defaults to 64.
        device (str | torch.device, optional): Where the encoder runs; it is moved there. Defaults
            to None: a GPU if there is one.
        amp (bool | str, optional): Autocast to 'float16' (the same as True) or 'bfloat16'. Defaults
            to None: float16 on a GPU, no autocast on CPU. Priors come out as float32 anyway.
        dtype (str): How priors are stored, 'float32' or 'float16'. Defaults to 'float32'.
        progress (bool): Whether to draw progress bars on a terminal. Defaults to True.
        num_workers (int, optional): Processes that decode; 0: none. Defaults to None: by cores.
        overwrite (bool): Whether a bank of other data or of another encoder, or a damaged one,
            may be replaced. Defaults to False.

    Returns:
        PriorBank: The bank, opened.

    Raises:
        ValueError: Bad images (all are listed), a pipeline that draws at random, a prior that is
            not finite, options out of range, or another bank or file in the place of it.
        BankWriteError: No permission or no space.
    """
    _check_options(dtype, batch_size)
    device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    amp_dtype = choose_amp(amp, device)
    view = TrainingView(make_dataset(cfg_or_dataset))
    view.check_deterministic()
    encoder, encoder_config = make_encoder(encoder)
    file_sizes = view.file_sizes()
    origin = BankOrigin(
        encoder=dict(encoder.describe()),
        encoder_fingerprint=encoder.fingerprint(),
        encoder_config=encoder_config,
        pipeline=view.steps,
        dataset_fingerprint=view.fingerprint(file_sizes),
        precision=str(amp_dtype or torch.float32).removeprefix('torch.'),
    )
    bank = _open_if_current(bank_file, view, origin, dtype, overwrite)
    if bank is not None:
        return bank
    if num_workers is None:
        num_workers = choose_num_workers(len(view), device.type == 'cuda')
    shape = (len(view), view.num_views, encoder.prior_dim)
    with _open_partial(bank_file, origin, shape, _DTYPES[dtype]) as partial:
        if not partial.num_done:
            check_views(view, num_workers, progress)
        batches = _load_batches(view, partial.num_done, batch_size, num_workers, device, progress)
        _encode(encoder, batches, partial, view, device, amp_dtype)
        keys = KeyIndex.from_keys(view.keys)
        write_bank_file(bank_file, keys, file_sizes, origin, partial.blocks, shape, partial.dtype)
        partial.remove()
    return PriorBank.open(bank_file)


def make_dataset(cfg_or_dataset: Any) -> Any:
    """Build the data set to encode.

    Args:
        cfg_or_dataset (Config | dict | Dataset): A run's config, a data set's config, or a built
            data set.

    Returns:
        Dataset: The data set.

    Raises:
        ValueError: A config with neither ``train_dataloader.dataset`` nor a data set's ``type``.
    """
    if not isinstance(cfg_or_dataset, Mapping) and not hasattr(cfg_or_dataset, '_cfg_dict'):
        return cfg_or_dataset
    cfg = cfg_or_dataset
    if 'train_dataloader' in cfg:
        cfg = cfg['train_dataloader']['dataset']
    if 'type' not in cfg:
        raise ValueError(
            "the config has neither train_dataloader.dataset nor a data set's type; give the "
            'config that you train with'
        )
    return DATASETS.build(cfg)


def make_encoder(encoder: Any) -> tuple[Any, dict[str, Any] | None]:
    """Build the encoder.

    Args:
        encoder (PriorEncoder | Mapping): The encoder or its config.

    Returns:
        tuple[PriorEncoder, dict | None]: The encoder, and its config where there was one.
    """
    if not isinstance(encoder, Mapping):
        return encoder, None
    return MODELS.build(dict(encoder)), simplify_config(encoder)


def choose_amp(amp: bool | str | None, device: torch.device) -> torch.dtype | None:
    """Choose the type of autocast.

    Args:
        amp (bool | str | None): As for ``build_bank``.
        device (torch.device): Where the encoder runs.

    Returns:
        torch.dtype | None: None for no autocast.

    Raises:
        ValueError: An unknown type.
    """
    if amp is None:
        amp = device.type == 'cuda'
    if isinstance(amp, bool):
        return torch.float16 if amp else None
    if amp not in _AMP_DTYPES:
        raise ValueError(f"amp must be a bool, 'float16' or 'bfloat16', but is {amp!r}")
    return _AMP_DTYPES[amp]


def _check_options(dtype: str, batch_size: int) -> None:
    if dtype not in _DTYPES:
        raise ValueError(f"dtype must be 'float32' or 'float16', but is {dtype!r}")
    if batch_size < 1:
        raise ValueError(f'batch_size must be at least 1, but is {batch_size}')


def _open_if_current(
    bank_file: str | Path, view: TrainingView, origin: BankOrigin, dtype: str, overwrite: bool
) -> PriorBank | None:
    """Open the bank that is there if it is the one to build; refuse to replace another one."""
    if not Path(bank_file).exists():
        return None
    try:
        bank = PriorBank.open(bank_file)
    except DamagedBankError:
        if not overwrite:
            raise
        return None
    wanted = {
        'data': (bank.origin.dataset_fingerprint, origin.dataset_fingerprint),
        'encoder': (bank.origin.encoder_fingerprint, origin.encoder_fingerprint),
        'precision': (bank.origin.precision, origin.precision),
        'number of views': (bank.num_views, view.num_views),
        'dtype': (bank.priors.dtype, _DTYPES[dtype]),
    }
    other = [name for name, (there, wanted) in wanted.items() if there != wanted]
    if not other:
        print_log(f'prior bank {bank_file} is up to date')
        # Left where a build was stopped between its last two steps.
        partial_path(bank_file).unlink(missing_ok=True)
        return bank
    if not overwrite:
        raise ValueError(
            f'prior bank {bank_file} is there already, with other {", ".join(other)} than would be '
            'built now; replace it with --overwrite, or write another file with --bank-file'
        )
    print_log(f'prior bank {bank_file} has other {", ".join(other)}: replacing it')
    return None


def _check_space(bank_file: Path, shape: tuple[int, int, int], dtype: Any) -> None:
    """Refuse early where rows and bank, both on disk at the end, cannot fit."""
    needed = 2 * int(np.prod(shape)) * np.dtype(dtype).itemsize
    folder = next(p for p in bank_file.absolute().parents if p.is_dir())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BankWriteError(
            f'no space left to build the prior bank {bank_file}: {needed / 1e9:.2f} GB are needed '
            f"in {folder}, {free / 1e9:.2f} GB are free; free some, store dtype='float16', or "
            'choose another place with --bank-file'
        )


@contextmanager
def _open_partial(
    bank_file: str | Path, origin: BankOrigin, shape: tuple[int, int, int], dtype: Any
) -> Iterator[PartialBank]:
    """Open the partial file, and leave one behind only if there is a row in it."""
    _check_space(Path(bank_file), shape, dtype)
    identity = {
        'encoder': origin.encoder_fingerprint,
        'data set': origin.dataset_fingerprint,
        'precision': origin.precision,
    }
    partial = PartialBank(bank_file, identity, shape[1:], dtype)
    if partial.discarded:
        print_log(f'{partial.path} of an earlier build is not used: {partial.discarded}')
    if partial.num_done:
        print_log(f'going on at image {partial.num_done} of {shape[0]} ({partial.path})')
    try:
        yield partial
    finally:
        if not partial.num_done:
            partial.remove()
        partial.close()


def _load_batches(
    view: TrainingView,
    start: int,
    batch_size: int,
    num_workers: int,
    device: torch.device,
    progress: bool,
) -> Iterable[torch.Tensor]:
    """Decode the images from ``start`` on, in batches (n,V,H,W,3) uint8."""
    size = max(1, batch_size // view.num_views)
    loader = make_loader(
        view,
        num_workers,
        batch_size=size,
        sampler=range(start, len(view)),
        pin_memory=device.type == 'cuda',
    )
    total = -(-len(view) // size)
    return track(loader, total, 'encoding images', progress, unit=size, done=total - len(loader))


def _encode(
    encoder: Any,
    batches: Iterable[torch.Tensor],
    partial: PartialBank,
    view: TrainingView,
    device: torch.device,
    amp_dtype: torch.dtype | None,
) -> None:
    """Encode batches and store their rows."""
    synced = time.monotonic()
    for priors in _run_encoder(encoder.to(device), batches, partial.num_done, device, amp_dtype):
        rows = _check_rows(priors, partial, view, amp_dtype)
        partial.append(rows)
        if time.monotonic() - synced > SYNC_SECONDS:
            partial.sync()
            synced = time.monotonic()
    partial.sync()


@torch.inference_mode()
def _run_encoder(
    encoder: Any,
    batches: Iterable[torch.Tensor],
    start: int,
    device: torch.device,
    amp_dtype: torch.dtype | None,
) -> Iterator[np.ndarray]:
    """Run the encoder over batches, a GPU always one batch ahead of what is copied back."""
    waiting: list[tuple[torch.Tensor, Any]] = []
    for batch in batches:
        num, num_views = batch.shape[:2]
        pixels = batch.to(device, non_blocking=True).flatten(0, 1)
        images = pixels.permute(0, 3, 1, 2).float().div_(255)
        rows = torch.arange(start, start + num, device=device).repeat_interleave(num_views)
        with torch.autocast(device.type, dtype=amp_dtype, enabled=amp_dtype is not None):
            priors = encoder.encode(images, rows)
        start += num
        priors = priors.float().unflatten(0, (num, num_views))
        waiting.append(_begin_copy(priors))
        if len(waiting) > 1 or device.type == 'cpu':
            yield _end_copy(*waiting.pop(0))
    yield from (_end_copy(*copy) for copy in waiting)


def _begin_copy(priors: torch.Tensor) -> tuple[torch.Tensor, Any]:
    if priors.device.type != 'cuda':
        return priors.cpu(), None
    copied = priors.to('cpu', non_blocking=True)
    done = torch.cuda.Event()
    done.record()
    return copied, done


def _end_copy(priors: torch.Tensor, done: Any) -> np.ndarray:
    if done is not None:
        done.synchronize()
    return priors.numpy()


def _check_rows(
    priors: np.ndarray, partial: PartialBank, view: TrainingView, amp_dtype: torch.dtype | None
) -> np.ndarray:
    """Convert rows to what is stored, and name the first image whose prior is not finite."""
    if priors.shape[1:] != partial.row_shape:
        raise ValueError(
            f'the encoder gave priors of shape {priors.shape[1:]}, but its prior_dim says '
            f'{partial.row_shape}'
        )
    with np.errstate(over='ignore'):
        rows = priors.astype(partial.dtype, copy=False)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=(1, 2)))
    if not len(bad):
        return rows
    path = view.paths[partial.num_done + bad[0]]
    if np.isfinite(priors[bad[0]]).all():
        cure = 'it is too large for float16; store float32 (--dtype float32)'
    elif amp_dtype is not None:
        cure = 'autocast may have overflowed; encode without it (--amp off)'
    else:
        cure = "the encoder's weights are damaged, or it cannot handle such an image"
    raise ValueError(f'the prior of image {path} is not finite: {cure}')
