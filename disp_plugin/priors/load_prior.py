"""Priors in a data set: the pipeline step that looks them up, and what names its images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmagic.registry import TRANSFORMS
from mmcv.transforms import BaseTransform
from torch import Tensor
from torch.nn import functional

from disp_plugin.datasets import ImageViews
from disp_plugin.datasets.image_views import unwrap_dataset

from .prior_bank import PriorBank


@TRANSFORMS.register_module()
class LoadPrior(BaseTransform):
    """Add the data instance prior C(x) of an image, out of a bank, by the image's key.

    :class:`ImageFolderDataset` does this itself; the step serves other data sets of mmagic. An
    image's key is its ``image_key``, or its path relative to ``data_root``. Where a horizontal
    ``Flip`` before this step did flip the image, its prior is that of the flipped view.
    ``PackInputs(keys=['gt'], data_keys=['gt_prior'])`` then carries it into
    ``data_samples.gt_prior``.

    Required Keys:

    - image_key, or [KEY]_path
    - flip_infos (optional, as ``Flip`` records them)

    Added Keys:

    - gt_prior: torch.Tensor (D,) float32

    Args:
        bank_file (str | Path): File of the bank. It is opened, memory-mapped, at the first image,
            in each process by itself.
        data_root (str | Path, optional): The folder that the bank was built from. Defaults to
            None: images must have an ``image_key``.
        key (str): Name of the image that the prior belongs to. Defaults to 'gt'.

    Raises:
        FileNotFoundError: At the first image, where there is no such file.
        ValueError: At an image that the bank lacks or holds no flipped view of.
    """

    def __init__(
        self, bank_file: str | Path, data_root: str | Path | None = None, key: str = 'gt'
    ) -> None:
        self.bank_file = str(bank_file)
        self.data_root = data_root
        self.key = key
        self._bank: PriorBank | None = None

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``gt_prior``."""
        flipped = self._is_flipped(results.get('flip_infos', ()))
        results['gt_prior'] = self.look_up([self.find_key(results)], [flipped])[0]
        return results

    def look_up(self, keys: Sequence[str], flipped: Sequence[bool]) -> Tensor:
        """Look up the priors (N, D) of images by their keys."""
        if self._bank is None:
            self._bank = PriorBank.open(self.bank_file)
        return self._bank.lookup(keys, flipped)

    def find_neighbors(self, keys: Sequence[str], num: int) -> np.ndarray:
        """Find the rows (N, ``num``) of each image's nearest others, by the cosine of priors."""
        priors = self.look_up(keys, [False] * len(keys))
        return find_neighbors(functional.normalize(priors), num).numpy()

    def find_key(self, results: Mapping[str, Any]) -> str:
        """Find the key of an image in what its data set tells of it.

        Raises:
            ValueError: There is no ``image_key``, and no path below ``data_root``.
        """
        if 'image_key' in results:
            return results['image_key']
        path = results.get(f'{self.key}_path')
        if path is None or self.data_root is None:
            raise ValueError(
                f"LoadPrior finds a prior by results['image_key'], or by the path of {self.key!r} "
                'relative to data_root; give LoadPrior(data_root=...) the folder that the bank was '
                f'built from (here data_root is {self.data_root!r}, the path {path!r})'
            )
        key = Path(os.path.relpath(path, self.data_root)).as_posix()
        if key.startswith('../'):
            raise ValueError(
                f'{path} does not lie below data_root {str(self.data_root)!r} of LoadPrior; give '
                'it the folder that the bank was built from'
            )
        return key

    def _is_flipped(self, flip_infos: Iterable[Mapping[str, Any]]) -> bool:
        flipped = False
        for info in flip_infos:
            if info['flip'] and self.key in info['keys']:
                if info['direction'] != 'horizontal':
                    raise ValueError(
                        f'image was flipped with direction={info["direction"]!r}, but a bank has '
                        "views for horizontal flips only; set Flip's direction='horizontal'"
                    )
                flipped = not flipped
        return flipped

    def __repr__(self) -> str:
        return f'{type(self).__name__}(bank_file={self.bank_file!r}, key={self.key!r})'


def find_neighbors(points: Tensor, num: int, rows: int = 1024) -> Tensor:
    """Find the nearest other points (N, ``num``) of each of N points, the nearest first."""
    found = []
    for start in range(0, len(points), rows):
        distances = torch.cdist(points[start : start + rows], points)
        distances.diagonal(start).fill_(torch.inf)
        found.append(distances.topk(num, largest=False).indices)
    return torch.cat(found)


class ImageList(NamedTuple):
    """Keys and files of a data set's images."""

    keys: list[str]
    paths: list[str]


def list_images(dataset: Any) -> ImageList:
    """List the images of a data set as its bank knows them.

    Args:
        dataset (Dataset): An ``ImageFolderDataset``, or another data set of mmengine's kind with
            ``LoadPrior`` in its pipeline; wrapped or not.

    Raises:
        ValueError: It is of another kind, or has no image.
    """
    dataset = open_dataset(dataset)
    if isinstance(dataset, ImageViews):
        images = ImageList(dataset.image_keys, dataset.image_paths)
    else:
        step = _find_load_prior(dataset)
        if step is None or not hasattr(dataset, 'get_data_info'):
            raise ValueError(
                f'the images of a {type(dataset).__name__} have no keys by which a bank could find '
                'their priors; use ImageFolderDataset, or put LoadPrior into its pipeline'
            )
        infos = [dataset.get_data_info(index) for index in range(len(dataset))]
        keys = [step.find_key(info) for info in infos]
        images = ImageList(keys, [str(info[f'{step.key}_path']) for info in infos])
    if not images.keys:
        raise ValueError(f'{type(dataset).__name__} has no images')
    return images


def find_bank(dataset: Any) -> Path | None:
    """Find the bank file that a data set takes its priors from; None where it takes none."""
    dataset = open_dataset(dataset)
    if getattr(dataset, 'bank_path', None):
        return dataset.bank_path
    step = _find_load_prior(dataset)
    return None if step is None else Path(step.bank_file)


def _find_load_prior(dataset: Any) -> LoadPrior | None:
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    return next((step for step in steps if isinstance(step, LoadPrior)), None)


def open_dataset(dataset: Any) -> Any:
    """Unwrap the one data set that a bank belongs to, ready to be asked for its images.

    Raises:
        ValueError: It is a concatenation.
    """
    dataset = unwrap_dataset(dataset)
    if hasattr(dataset, 'datasets'):
        raise ValueError(
            f'a bank belongs to one data set such as ImageFolderDataset, not to a '
            f'{type(dataset).__name__}'
        )
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    return dataset
