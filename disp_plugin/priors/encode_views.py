"""Decode the views of images in other processes; check them; run an encoder over them."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from disp_plugin.datasets import BadImage, BadImageError, ImageViews, describe_bad_images
from disp_plugin.encoders import PriorEncoder
from disp_plugin.progress import track


class _Views(Dataset):
    """Gives the views of an image, (V,H,W,3) uint8."""

    def __init__(self, dataset: ImageViews) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> np.ndarray:
        image = self.dataset.view(index)
        return image[None] if self.dataset.num_views == 1 else np.stack([image, image[:, ::-1]])


class _Shapes(_Views):
    """Gives the shape of an image's view, or what is wrong with it."""

    def __getitem__(self, index: int) -> tuple[tuple[int, ...], str]:  # type: ignore[override]
        try:
            return self.dataset.view(index).shape, ''
        except BadImageError as error:
            return (), error.reason or 'it cannot be decoded'
        # A data set of someone else may raise anything on an odd image; the report names it.
        except Exception as error:
            return (), f'{type(error).__name__}: {error}'


def check_views(
    dataset: ImageViews,
    indices: Sequence[int],
    paths: Sequence[str],
    num_workers: int,
    progress: bool = True,
) -> None:
    """Check that images can be decoded and are shown in one size; ``paths`` are for the report.

    Raises:
        ValueError: Names every bad image and what is wrong with it.
    """
    batches = [list(indices[start : start + 16]) for start in range(0, len(indices), 16)]
    loader = _load(_Shapes(dataset), batches, num_workers, collate_fn=list)
    batches_of_results = track(loader, len(batches), 'checking images', progress, unit=16)
    results = [result for batch in batches_of_results for result in batch]
    shapes = Counter(shape for shape, reason in results if not reason)
    usual = shapes.most_common(1)[0][0] if shapes else ()
    bad = [
        BadImage(path, reason or _explain_shape(shape, usual))
        for path, (shape, reason) in zip(paths, results, strict=True)
        if reason or shape != usual
    ]
    if bad:
        raise ValueError(describe_bad_images(bad, len(paths)))


def _explain_shape(shape: tuple[int, ...], usual: tuple[int, ...]) -> str:
    return (
        f'it is {shape[1]}x{shape[0]} (width x height) where most images are '
        f'{usual[1]}x{usual[0]}; set image_size, which crops and resizes all to one square'
    )


@torch.inference_mode()
def encode_views(
    encoder: PriorEncoder,
    dataset: ImageViews,
    batches: list[list[int]],
    num_workers: int,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    progress: bool = True,
) -> Iterator[np.ndarray]:
    """Run an encoder over batches of images, a GPU always one batch ahead of what is copied back.

    Yields:
        np.ndarray: (n,V,D) float32, a batch's priors.
    """
    encoder = encoder.to(device)
    loader = _load(_Views(dataset), batches, num_workers, pin_memory=device.type == 'cuda')
    unit = len(batches[0]) if batches else 1
    waiting: list[tuple[torch.Tensor, Any]] = []
    for batch in track(loader, len(batches), 'encoding images', progress, unit=unit):
        num, num_views = batch.shape[:2]
        pixels = batch.to(device, non_blocking=True).flatten(0, 1)
        images = pixels.permute(0, 3, 1, 2).float().div_(255)
        with torch.autocast(device.type, dtype=amp_dtype, enabled=amp_dtype is not None):
            priors = encoder(images)
        waiting.append(_begin_copy(priors.float().unflatten(0, (num, num_views))))
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


def choose_num_workers(num_images: int, on_gpu: bool) -> int:
    """Choose how many processes decode while the encoder runs; 0 for few images."""
    can_ask = hasattr(os, 'sched_getaffinity')
    num_cores = len(os.sched_getaffinity(0)) if can_ask else os.cpu_count() or 1
    if num_images < 128:
        return 0
    return min(num_cores, 16) if on_gpu else max(1, num_cores // 2)


def _load(
    dataset: Dataset, batches: Iterable[list[int]], num_workers: int, **options: Any
) -> DataLoader:
    """Make a loader whose workers take one core each and start at once."""
    # Forked workers need not import torch and mmagic again, which takes longer than small data.
    can_fork = sys.platform == 'linux' and 'fork' in multiprocessing.get_all_start_methods()
    if num_workers:
        options.update(
            multiprocessing_context='fork' if can_fork else None,
            worker_init_fn=_use_one_core,
            prefetch_factor=4,
        )
    # A generator of its own, or every loader would take a number from the global one.
    return DataLoader(
        dataset,
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=num_workers,
        generator=torch.Generator(),
        **options,
    )


def _use_one_core(_: int) -> None:
    cv2.setNumThreads(0)
