"""How views reach the encoder: decoded by other processes while it runs, under a progress bar."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterable
from typing import Any

import cv2
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
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


def track(
    batches: Iterable[Any], total: int, title: str, progress: bool, unit: int = 1, done: int = 0
) -> Iterable[Any]:
    """Go through batches under a progress bar with the time that is left, on a terminal.

    Args:
        batches (Iterable): What to go through.
        total (int): How many batches.
        title (str): What is going on.
        progress (bool): Whether to draw at all.
        unit (int): Images in a batch, in which progress is told. Defaults to 1.
        done (int): Batches that an earlier run did. Defaults to 0.

    Yields:
        Any: Each batch.
    """
    console = Console(stderr=True)
    # Workers must be forked before the bar's thread runs.
    iterator = iter(batches)
    if not progress or not console.is_terminal:
        yield from iterator
        return
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total * unit, completed=done * unit)
        for batch in iterator:
            yield batch
            bar.advance(task, unit)


def _use_one_core(_: int) -> None:
    cv2.setNumThreads(0)
