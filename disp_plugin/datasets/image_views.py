"""Images in the views that training shows: the contract, and loading and checking them all."""

from __future__ import annotations

import multiprocessing
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from disp_plugin.distributed import count_cores
from disp_plugin.progress import track

from .decode_image import BadImageError


@runtime_checkable
class ImageViews(Protocol):
    """Images with names, each in one or two views: what a bank of priors is built from.

    Attributes:
        image_keys (list[str]): Name of each image.
        image_paths (list[str]): File of each image.
        num_views (int): 2 if the images are also shown flipped, else 1.
    """

    @property
    def image_keys(self) -> list[str]: ...  # noqa: D102

    @property
    def image_paths(self) -> list[str]: ...  # noqa: D102

    @property
    def num_views(self) -> int: ...  # noqa: D102

    def view(self, index: int, flipped: bool = False) -> np.ndarray:
        """Make the image (H, W, 3), uint8, RGB."""
        ...

    def describe_view(self) -> dict[str, Any]:
        """Describe in JSON types how a view is made of a file."""
        ...


def check_views(
    dataset: ImageViews,
    indices: Sequence[int] | None = None,
    num_workers: int | None = None,
    progress: bool = True,
    same_size: bool = True,
) -> None:
    """Decode images once, before any work depends on it.

    Args:
        dataset (ImageViews): The images.
        indices (Sequence[int], optional): Those to check. Defaults to None: all.
        num_workers (int, optional): Processes that decode. Defaults to None: by cores.
        progress (bool): Whether to show progress. Defaults to True.
        same_size (bool): Whether all must be shown in one size. Defaults to True.

    Raises:
        ValueError: Names every bad image, what is wrong with it, and the ways out.
    """
    paths = dataset.image_paths
    indices = range(len(paths)) if indices is None else indices
    if num_workers is None:
        num_workers = choose_num_workers(len(indices))
    batches = [list(indices[start : start + 16]) for start in range(0, len(indices), 16)]
    loader = load_views(partial(_try_view, dataset), batches, num_workers, collate_fn=list)
    checked = track(loader, len(batches), 'checking images', progress, unit=16)
    results = [result for batch in checked for result in batch]
    shapes = Counter(shape for shape, reason in results if not reason)
    usual = shapes.most_common(1)[0][0] if same_size and shapes else None
    lines = []
    for index, (shape, reason) in zip(indices, results, strict=True):
        if not reason and usual and shape != usual:
            reason = (
                f'it is {shape[1]}x{shape[0]} (width x height) where most images are '
                f'{usual[1]}x{usual[0]}; set image_size, which crops and resizes all to one square'
            )
        if reason:
            lines.append(f'  {paths[index]}: {reason}\n')
    if lines:
        raise ValueError(
            f'{len(lines)} of {len(indices)} images cannot be read:\n{"".join(lines)}'
            'Repair or delete these files, or list the good ones in a manifest (a text file, one '
            "image's path relative to data_root on each line; set ann_file to it), and run the "
            'command again.'
        )


def _try_view(dataset: ImageViews, index: int) -> tuple[tuple[int, ...], str]:
    """Give the shape of an image's view, or what is wrong with it."""
    try:
        return dataset.view(index).shape, ''
    except BadImageError as error:
        return (), error.reason or 'it cannot be decoded'
    # A data set of someone else may raise anything on an odd image; the report names it.
    except Exception as error:
        return (), f'{type(error).__name__}: {error}'


def unwrap_dataset(dataset: Any) -> Any:
    """Take a data set out of wrappers such as ``SeededDraws``."""
    while hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    return dataset


def stack_views(dataset: ImageViews, index: int) -> np.ndarray:
    """Stack the views of an image, (V, H, W, 3), uint8."""
    image = dataset.view(index)
    return image[None] if dataset.num_views == 1 else np.stack([image, image[:, ::-1]])


def choose_num_workers(num_images: int, on_gpu: bool = False) -> int:
    """Choose how many processes decode while the main one works; 0 for few images."""
    num_cores = count_cores()
    if num_images < 128:
        return 0
    return min(num_cores, 16) if on_gpu else max(1, num_cores // 2)


class _Loaded(Dataset):
    def __init__(self, load: Callable[[int], Any]) -> None:
        self.load = load

    def __getitem__(self, index: int) -> Any:
        return self.load(index)


def load_views(
    load: Callable[[int], Any], batches: list[list[int]], num_workers: int, **options: Any
) -> DataLoader:
    """Make a loader of what ``load`` gives for indices; workers take one core each."""
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
        _Loaded(load),
        batch_sampler=batches,
        num_workers=num_workers,
        generator=torch.Generator(),
        **options,
    )


def _use_one_core(_: int) -> None:
    cv2.setNumThreads(0)
