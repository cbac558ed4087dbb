"""What the encoder sees of a data set: the training view of each image, without chance."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from mmagic.registry import DATASETS
from torch.utils.data import Dataset

from .random_steps import find_random_step

# Steps behind these do not touch what the encoder sees; by name, so that this file needs neither.
_LAST_STEPS = ('LoadPrior', 'PackInputs', 'PackGenInputs')
# Attributes of transforms that hold what they are doing, not what they were told to do.
_STATE_ATTRIBUTES = ('cache', 'file_backend')


class TrainingView(Dataset):
    """The images of a data set as training shows them, in every flip view, ordered by image key.

    The data set's own pipeline makes the view, up to ``LoadPrior`` (or up to packing), so that the
    encoder gets the crop and size that the GAN trains on. A horizontal ``Flip`` is the one random
    step that is allowed: it gives a second view, computed where it stands in the pipeline.

    Args:
        dataset (Dataset): Built data set, wrapped or not, whose ``get_data_info`` has an
            ``image_key`` and the path of the file (``gt_path`` for an image under ``'gt'``).

    Raises:
        ValueError: A data set without image keys, a repeated key, a random step other than a
            horizontal flip, or a flip behind ``LoadPrior``.

    Attributes:
        keys (list[str]): M image keys, sorted.
        paths (list[str]): The file of each.
        num_views (int): V, 2 where the pipeline flips, else 1.
        steps (list[dict]): The pipeline's steps but for Flip, each with its arguments.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = unwrap_dataset(dataset)
        if getattr(self.dataset, 'takes_positions', False):
            self._take_stated_view()
            return
        transforms = _list_transforms(self.dataset)
        self.image_name, before = _split_pipeline(transforms)
        flips = [i for i, step in enumerate(before) if _flips(step, self.image_name)]
        _check_flips([before[i] for i in flips])
        position = flips[0] if flips else len(before)
        self._shared_steps = [s for s in before[:position] if not _is_flip(s)]
        self._view_steps = [s for s in before[position:] if not _is_flip(s)]
        self.num_views = 2 if flips else 1
        self.steps = [describe_step(step) for step in self._shared_steps + self._view_steps]
        self._index, self.keys, self.paths = _list_images(self.dataset, self.image_name)

    def _take_stated_view(self) -> None:
        keys = self.dataset.image_keys
        self._index = sorted(range(len(keys)), key=keys.__getitem__)
        self.keys = [keys[index] for index in self._index]
        paths = self.dataset.image_paths
        self.paths = [paths[index] for index in self._index]
        self.image_name, self.num_views = 'gt', self.dataset.num_views
        self.steps = [{'type': 'view', **self.dataset.describe_view()}]
        self._shared_steps, self._view_steps = [], []

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, row: int) -> np.ndarray:
        """Make the views of one image.

        Args:
            row (int): Row of the image in the order of ``keys``.

        Returns:
            np.ndarray: (V,H,W,3) uint8 RGB; the second view is the flipped one.
        """
        if getattr(self.dataset, 'takes_positions', False):
            index = self._index[row]
            return np.stack([self.dataset.view(index, bool(v)) for v in range(self.num_views)])
        results = _run(self._shared_steps, self.dataset.get_data_info(self._index[row]))
        views = []
        for flipped in range(self.num_views):
            view = copy.deepcopy(results) if flipped + 1 < self.num_views else results
            if flipped:
                view[self.image_name] = np.ascontiguousarray(view[self.image_name][:, ::-1])
            views.append(self._to_rgb(_run(self._view_steps, view)))
        return np.stack(views)

    @property
    def image_keys(self) -> list[str]:
        """list[str]: The keys."""
        return self.keys

    @property
    def image_paths(self) -> list[str]:
        """list[str]: The paths."""
        return self.paths

    def view(self, index: int, flipped: bool = False) -> np.ndarray:
        """Make one view."""
        return self[index][int(flipped)]

    def describe_view(self) -> dict[str, Any]:
        """Describe the steps."""
        return {'steps': self.steps}

    def share(self, start: int, stop: int) -> TrainingView:
        """Take a run of images, for a process that encodes no others.

        Args:
            start (int): First row in the order of ``keys``.
            stop (int): Row behind the last.

        Returns:
            TrainingView: Those images, in the same views.
        """
        part = copy.copy(self)
        part._index, part.keys = self._index[start:stop], self.keys[start:stop]
        part.paths = self.paths[start:stop]
        return part

    def file_sizes(self) -> np.ndarray:
        """Ask the file system for the size of each image's file.

        Returns:
            np.ndarray: (M,) int64, bytes; -1 where there is no file.
        """
        return np.fromiter(map(_file_size, self.paths), dtype=np.int64, count=len(self.paths))

    def fingerprint(self, file_sizes: np.ndarray) -> str:
        """Hash image keys, file sizes and the steps of the pipeline.

        Args:
            file_sizes (np.ndarray): (M,), as from ``file_sizes``.

        Returns:
            str: Hex digest.
        """
        digest = hashlib.sha256(json.dumps(self.steps, sort_keys=True).encode())
        for key, size in zip(self.keys, file_sizes.tolist(), strict=True):
            digest.update(f'{key}\0{size}\n'.encode())
        return digest.hexdigest()

    def check_deterministic(self) -> None:
        """Make sure that no step is random, by what it is and by what it does to the first image.

        Raises:
            ValueError: One is; it is named.
        """
        steps = self._shared_steps + self._view_steps
        problem = find_random_step(
            steps, lambda: self.dataset.get_data_info(self._index[0]), self.image_name
        )
        if problem:
            raise ValueError(
                f'the pipeline draws at random before LoadPrior: {problem}. A prior belongs to one '
                'view of an image, so that only a horizontal Flip may be random there; replace the '
                'step by a deterministic one, or move it behind LoadPrior'
            )

    def _to_rgb(self, results: dict[str, Any]) -> np.ndarray:
        image = results.get(self.image_name)
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3:
            came = f'{getattr(image, "dtype", type(image).__name__)}'
            raise ValueError(
                f'the pipeline gives {came} for {self.image_name!r}, but before LoadPrior it must '
                'be a uint8 image (H,W,3); move normalizing and packing steps behind LoadPrior'
            )
        if image.shape[2] == 1:
            image = image.repeat(3, axis=2)
        if image.shape[2] != 3:
            raise ValueError(f'the pipeline gives {image.shape[2]} channels, but 3 are needed')
        order = results.get(f'{self.image_name}_channel_order', 'bgr')
        return np.ascontiguousarray(image[..., ::-1]) if order == 'bgr' else image


def as_views(dataset: Any) -> Any:
    """Build what a config states, and give pipelines a view."""
    if isinstance(dataset, Mapping) or hasattr(dataset, '_cfg_dict'):
        if 'train_dataloader' in dataset:
            dataset = dataset['train_dataloader']['dataset']
        if 'type' not in dataset:
            raise ValueError(
                "the config has neither train_dataloader.dataset nor a data set's type; give the "
                'config that you train with'
            )
        dataset = DATASETS.build(dataset)
    if isinstance(dataset, TrainingView):
        return dataset
    inner = unwrap_dataset(dataset)
    if getattr(inner, 'takes_positions', False) or not hasattr(inner, 'pipeline'):
        return inner
    view = TrainingView(inner)
    view.check_deterministic()
    return view


def view_config(dataset: Mapping[str, Any], flips: bool = True, **changes: Any) -> dict[str, Any]:
    """State a training set alone, without its wrappers and without what follows the view.

    Args:
        dataset (Mapping[str, Any]): Config of the data set, wrapped or not; it is not changed.
        flips (bool): Whether a random flip stays in the pipeline. Defaults to True.
        **changes: Fields to replace, such as ``ann_file``.

    Returns:
        dict[str, Any]: Config of the innermost data set, whose pipeline ends where the encoder
        looks.
    """
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    if 'pipeline' not in dataset:
        plain = {k: v for k, v in copy.deepcopy(dict(dataset)).items() if k != 'bank_file'}
        changes.pop('pipeline', None)
        return {**plain, **({} if flips else {'flip': False}), **changes}
    pipeline = []
    for step in dataset['pipeline']:
        if step['type'] in _LAST_STEPS:
            break
        if not flips and str(step['type']).split('.')[-1] == 'Flip':
            continue
        pipeline.append(copy.deepcopy(dict(step)))
    return {**copy.deepcopy(dict(dataset)), 'pipeline': pipeline, **changes}


def unwrap_dataset(dataset: Any) -> Any:
    """Find the data set that lists the images inside of wrappers such as ``SeededDraws``.

    Args:
        dataset (Dataset): Data set, wrapped or not.

    Returns:
        Dataset: The innermost one, fully initialized.

    Raises:
        ValueError: It is a concatenation, or no data set of mmengine's kind.
    """
    while hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    if not hasattr(dataset, 'get_data_info') or hasattr(dataset, 'datasets'):
        raise ValueError(
            f'a bank belongs to one data set such as ImageFolderDataset, not to a '
            f'{type(dataset).__name__}'
        )
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    return dataset


def describe_step(step: Any) -> dict[str, Any]:
    """Describe a transform by its type and what it was told to do.

    Args:
        step (BaseTransform): Transform of a pipeline.

    Returns:
        dict[str, Any]: ``type`` and every attribute that is a number, a text, or made of those.
    """
    described: dict[str, Any] = {'type': type(step).__name__}
    for name, value in sorted(vars(step).items() if hasattr(step, '__dict__') else ()):
        if name.startswith('_') or name in _STATE_ATTRIBUTES:
            continue
        try:
            # Through JSON, so that a tuple compares equal to the list that the bank's file has.
            described[name] = json.loads(json.dumps(value))
        except (TypeError, ValueError):
            continue
    return described


def _list_transforms(dataset: Any) -> list[Any]:
    pipeline = getattr(dataset, 'pipeline', None)
    return list(getattr(pipeline, 'transforms', pipeline or []))


def _names(step: Any) -> list[str]:
    return [cls.__name__ for cls in type(step).__mro__]


def _is_flip(step: Any) -> bool:
    return 'Flip' in _names(step)


def _flips(step: Any, image_name: str) -> bool:
    return _is_flip(step) and step.flip_ratio > 0 and image_name in step.keys


def _split_pipeline(transforms: list[Any]) -> tuple[str, list[Any]]:
    """Find the name of the image in the results, and the steps that make what the encoder sees."""
    last = next(
        (i for i, s in enumerate(transforms) if any(n in _LAST_STEPS for n in _names(s))),
        len(transforms),
    )
    image_name = next(
        (s.key for s in transforms if 'LoadPrior' in _names(s)),
        next((s.key for s in transforms[:last] if isinstance(getattr(s, 'key', 0), str)), 'gt'),
    )
    if any(_flips(step, image_name) for step in transforms[last + 1 :]):
        raise ValueError(
            'Flip stands behind LoadPrior, so that a flipped image would get the prior of the '
            'unflipped one; move Flip before LoadPrior'
        )
    return image_name, transforms[:last]


def _check_flips(flips: list[Any]) -> None:
    if len(flips) > 1:
        raise ValueError(f'the pipeline has {len(flips)} Flip steps before LoadPrior; keep one')
    if flips and flips[0].direction != 'horizontal':
        raise ValueError(
            f'Flip has direction={flips[0].direction!r}, but a bank has views for horizontal flips '
            "only; set direction='horizontal' or take Flip out"
        )


def _list_images(dataset: Any, image_name: str) -> tuple[list[int], list[str], list[str]]:
    found = []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        path = info.get(f'{image_name}_path', info.get('gt_path', info.get('img_path')))
        if 'image_key' not in info or path is None:
            raise ValueError(
                f'{type(dataset).__name__} gives no image_key and {image_name}_path, by which a '
                "bank finds an image's prior; use ImageFolderDataset"
            )
        found.append((info['image_key'], index, str(path)))
    found.sort()
    for (key, _, _), (following, _, _) in itertools.pairwise(found):
        if key == following:
            raise ValueError(f'image key {key!r} comes twice in the data set; list it once')
    if not found:
        raise ValueError(f'{type(dataset).__name__} has no images, so that there is no bank of it')
    keys, indices, paths = zip(*found, strict=True)
    return list(indices), list(keys), list(paths)


def _run(steps: list[Any], results: dict[str, Any]) -> dict[str, Any]:
    for step in steps:
        results = step(results)
        if results is None:
            raise ValueError(f'{type(step).__name__} could not handle it and gave nothing')
    return results


def _file_size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
