"""What all runs of a matrix share; runs of other settings do not go into its table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matrix_cells import flatten, innermost

NOTHING = 'not given'


def list_settings(
    cfg: Any, options: Mapping[str, Any], spaces: Mapping[str, Any]
) -> dict[str, Any]:
    """State what all runs of a matrix have in common.

    Args:
        cfg (Config): The data set's DISP config.
        options (Mapping[str, Any]): What the command changes in every config.
        spaces (Mapping[str, Any]): Where all cells are measured.

    Returns:
        dict[str, Any]: The settings, as JSON gives them back.
    """
    settings = {
        'config': Path(cfg.filename).name,
        'training_set': _name_images(innermost(cfg)[1]),
        'validation_set': _name_images(cfg.val_dataloader.dataset),
        'test_set': _name_images(cfg.test_dataloader.dataset),
        'max_iters': cfg.train_cfg.max_iters,
        'spaces': dict(spaces),
    }
    others = {name: value for name, value in options.items() if name != 'max_iters'}
    if others:
        settings['cfg_options'] = others
    return json.loads(json.dumps(settings, default=str))


def _name_images(dataset: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in dataset.items() if name != 'pipeline'}


def check_settings(
    work_dir: Path, known: Mapping[str, Any] | None, settings: Mapping[str, Any]
) -> None:
    """Refuse runs that cannot stand in one table with those that are there.

    Args:
        work_dir (Path): Folder of the matrix.
        known (Mapping[str, Any] | None): Its settings; None where it has none yet.
        settings (Mapping[str, Any]): Those of the command.

    Raises:
        ValueError: They differ.
    """
    if known is None:
        return
    before, now = flatten(known), flatten(settings)
    differing = [
        f'{name} was {before.get(name, NOTHING)} and is {now.get(name, NOTHING)}'
        for name in dict.fromkeys([*before, *now])
        if before.get(name, NOTHING) != now.get(name, NOTHING)
    ]
    if differing:
        raise ValueError(
            f'{work_dir} holds runs with other settings, and one table cannot hold both: '
            f'{"; ".join(differing)}; choose another --work-dir'
        )


def is_reported_where_chosen(settings: Mapping[str, Any] | None) -> bool:
    """Tell whether the images that choose the best snapshot also report on it."""
    return bool(settings) and settings['validation_set'] == settings['test_set']
