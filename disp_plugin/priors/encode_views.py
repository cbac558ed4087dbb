"""The one loop that runs an encoder over images."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from disp_plugin.progress import track

from .load_views import make_loader
from .partial_bank import PartialBank
from .training_view import TrainingView

SYNC_SECONDS = 10.0


def load_batches(
    view: TrainingView,
    start: int,
    batch_size: int,
    num_workers: int,
    device: torch.device,
    progress: bool,
) -> Iterable[torch.Tensor]:
    """Decode the images of a view.

    Args:
        view (TrainingView): The images.
        start (int): First image.
        batch_size (int): Images in a batch.
        num_workers (int): Processes that decode; 0: this one.
        device (torch.device): Where the batches go.
        progress (bool): Whether to draw a progress bar on a terminal.

    Returns:
        Iterable[torch.Tensor]: Batches (n,V,H,W,3) uint8.
    """
    loader = make_loader(
        view,
        num_workers,
        batch_size=batch_size,
        sampler=range(start, len(view)),
        pin_memory=device.type == 'cuda',
    )
    total = -(-len(view) // batch_size)
    done = total - len(loader)
    return track(loader, total, 'encoding images', progress, unit=batch_size, done=done)


def encode_views(
    encoder: Any,
    batches: Iterable[torch.Tensor],
    partial: PartialBank,
    view: TrainingView,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    first_row: int = 0,
) -> None:
    """Encode batches and store their rows.

    Args:
        encoder (PriorEncoder): The encoder.
        batches (Iterable[torch.Tensor]): As of ``load_batches``.
        partial (PartialBank): Where rows go.
        view (TrainingView): The images, of which it has the first.
        device (torch.device): Where the encoder runs.
        amp_dtype (torch.dtype | None): Type of autocast.
        first_row (int): Row in the whole bank of the view's first image. Defaults to 0.

    Raises:
        ValueError: A prior that is not finite, or of another length than the encoder announces.
    """
    synced = time.monotonic()
    start = first_row + partial.num_done
    for priors in _run_encoder(encoder.to(device), batches, start, device, amp_dtype):
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
