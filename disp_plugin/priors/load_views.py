"""How views reach the encoder: decoded by other processes while it runs."""

from __future__ import annotations

import multiprocessing
import os
import sys
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset


def make_loader(dataset: Dataset, num_workers: int, **options: Any) -> DataLoader:
    """Make a loader whose workers take one core each and start at once.

    Args:
        dataset (Dataset): What to load.
        num_workers (int): Processes; 0: this one.
        **options: Others of ``DataLoader``.

    Returns:
        DataLoader: The loader.
    """
    # Forked workers need not import torch and mmagic again, which takes longer than small data.
    can_fork = sys.platform == 'linux' and 'fork' in multiprocessing.get_all_start_methods()
    if num_workers:
        options.update(
            multiprocessing_context='fork' if can_fork else None,
            worker_init_fn=_use_one_core,
            prefetch_factor=4,
        )
    # A generator of its own, or every loader would take a number from the global one.
    return DataLoader(dataset, num_workers=num_workers, generator=torch.Generator(), **options)


def choose_num_workers(num_images: int, on_gpu: bool) -> int:
    """Choose how many processes decode while the encoder runs.

    Args:
        num_images (int): Images to decode.
        on_gpu (bool): Whether the encoder leaves the cores to them.

    Returns:
        int: 0 for so few images that processes are not worth starting.
    """
    can_ask = hasattr(os, 'sched_getaffinity')
    num_cores = len(os.sched_getaffinity(0)) if can_ask else os.cpu_count() or 1
    if num_images < 128:
        return 0
    return min(num_cores, 16) if on_gpu else max(1, num_cores // 2)


def _use_one_core(_: int) -> None:
    cv2.setNumThreads(0)
