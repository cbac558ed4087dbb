"""The held-out images of a run: named by a folder or a manifest, seen as training sees its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmagic.registry import DATASETS

from disp_plugin.priors import view_config

from .check_disjoint import check_disjoint

__all__ = ['find_held_out']


def find_held_out(
    cfg: Mapping[str, Any], held_out: str | None, split: str | None = None
) -> tuple[dict[str, Any], str]:
    """Find images that a run has not been trained on.

    Args:
        cfg (Mapping[str, Any]): The run's config.
        held_out (str | None): A folder, or a manifest of images in the folder of the training
            images. None takes the config's ``test_dataloader``.
        split (str | None): A name for them. Defaults to None: 'test' for a folder, the manifest's
            name, or what the config says.

    Returns:
        tuple[dict[str, Any], str]: Config of the data set, unmirrored, and the name.

    Raises:
        FileNotFoundError: There is no such folder or manifest.
        ValueError: None are named, or some of them are training images.
    """
    train = view_config(cfg['train_dataloader']['dataset'], flips=False)
    if held_out is None:
        test = cfg.get('test_dataloader')
        if not test:
            raise ValueError(
                'the config has no test_dataloader: name unseen images by --held-out, a folder or '
                'a manifest in the folder of the training images'
            )
        name = (cfg.get('test_evaluator') or {}).get('split', 'test')
        return view_config(test['dataset']), split or name
    root, given = Path(train['data_root']), Path(held_out)
    if given.is_dir():
        changes, name = {'data_root': str(given), 'ann_file': ''}, 'test'
    elif (root / given).is_file() or given.is_file():
        in_root = (root / given).is_file()
        changes, name = {'ann_file': str(given if in_root else given.absolute())}, given.stem
    else:
        raise FileNotFoundError(
            f'--held-out {given} is neither a folder nor a manifest, here or in {root}'
        )
    dataset = {**train, **changes}
    dataset.pop('indices', None)  # a choice among the training images
    check_disjoint(_list_files(train), _list_files(dataset), f'--held-out {held_out}')
    return dataset, split or name


def _list_files(dataset: dict[str, Any]) -> list[str]:
    built = DATASETS.build({**dataset, 'pipeline': []})
    return [built.get_data_info(row)['gt_path'] for row in range(len(built))]
