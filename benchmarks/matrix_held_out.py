"""How matrix.py measures runs of a config that names no held-out images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

PARTS = ('val', 'test')
AFTERWARDS = (
    *(f'{part}_{field}.' for part in PARTS for field in ('evaluator', 'dataloader')),
    'train_cfg.val_',
    'default_hooks.checkpoint.save_best',
    'default_hooks.checkpoint.rule',
)
"""Beginnings of the options that change what the held-out images bring with them."""


def load_with_held_out(
    file: Any,
    options: Mapping[str, Any],
    held_out: str | None,
    spaces: list | None,
) -> Any:
    """Load a config that measures itself, on images of its own or on those given.

    Args:
        file (str | Path): The config's file.
        options (Mapping[str, Any]): Dotted path -> value.
        held_out (str | None): Folder or manifest, as for tools/train.py, for validation and test
            where the config names no images; None where it names all.
        spaces (list | None): As for :func:`disp_plugin.evaluation.spaces`.

    Returns:
        Config: The config.

    Raises:
        FileNotFoundError: There is no such file, folder or manifest.
        ValueError: The options do not fit, the held-out images are training images, or the config
            names images for both.
    """
    from disp_plugin.cli.config import load_config
    from disp_plugin.cli.options import check_options

    if held_out is None:
        return load_config(file, options)
    later = {name: value for name, value in options.items() if name.startswith(AFTERWARDS)}
    early = {name: value for name, value in options.items() if name not in later}
    cfg = load_config(file, early)
    if cfg.get('val_evaluator') and cfg.get('test_evaluator'):
        raise ValueError(f'{file} names held-out images of its own; leave --held-out out')
    _add(cfg, held_out, spaces)
    check_options(cfg._cfg_dict, later, file=Path(cfg.filename).name)
    cfg.merge_from_dict(later)
    return cfg


def _add(cfg: Any, held_out: str, spaces: list | None) -> None:
    from disp_plugin.evaluation.held_out import add_validation, find_held_out

    if not cfg.get('val_evaluator'):
        add_validation(cfg, held_out, spaces)
    if not cfg.get('test_evaluator'):
        dataset, split = find_held_out(cfg, held_out)
        cfg.test_dataloader = {**cfg.val_dataloader.to_dict(), 'dataset': dataset}
        cfg.test_cfg = dict(type='MultiTestLoop')
        cfg.test_evaluator = {**cfg.val_evaluator.to_dict(), 'split': split}
