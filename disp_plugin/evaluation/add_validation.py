"""Metrics during training, for any config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmagic.registry import DATASETS
from mmengine.config import Config

from disp_plugin.priors import view_config

from .choose_spaces import choose_spaces
from .find_held_out import find_held_out
from .metric_card import LEAST_FOR_FID, format_count

__all__ = ['add_validation']

NUM_IMAGES = 2048


def add_validation(
    cfg: Config,
    held_out: str,
    spaces: list[str | tuple[str, Mapping[str, Any]]] | None = None,
    interval: int | None = None,
    patience: int | None = None,
) -> str:
    """Have a run measure itself on held-out images, and keep its best snapshot.

    Args:
        cfg (Config): Config of a run; changed in place, so that it says all of it.
        held_out (str): Folder or manifest, as for :func:`find_held_out`.
        spaces (list | None): As for :func:`choose_spaces`. Defaults to None: 'clean' and 'prior'.
        interval (int | None): Iterations between validations. Defaults to None: between
            checkpoints.
        patience (int | None): Stop after so many validations without a better one. Defaults to
            None: go on to the end.

    Returns:
        str: Name of the metric that chooses the snapshot.

    Raises:
        FileNotFoundError: There is no such folder or manifest.
        ValueError: Held-out images are training images or fewer than 2, or an option is out of
            range.
    """
    for name, value in (('the validation interval', interval), ('patience', patience)):
        if value is not None and value < 1:
            raise ValueError(f'{name} must be at least 1, but is {value}')
    dataset, split = find_held_out(cfg, held_out, 'val')
    chosen = choose_spaces(spaces, {**cfg, 'test_evaluator': None})
    interval = interval or cfg.default_hooks.checkpoint.interval
    cfg.val_dataloader = dict(
        batch_size=cfg.train_dataloader.batch_size,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dataset,
    )
    cfg.val_cfg = dict(type='MultiValLoop')
    cfg.val_evaluator = dict(
        type='StandardEvaluator',
        metrics=None,
        spaces=chosen,
        train_dataset=view_config(cfg.train_dataloader.dataset),
        encoder=cfg.get('encoder'),
        fake_nums=NUM_IMAGES,
        split=split,
    )
    cfg.train_cfg.update(val_begin=interval, val_interval=interval)
    num = len(DATASETS.build({**dataset, 'pipeline': []}))
    if num < 2:
        raise ValueError(f'--held-out {held_out} holds 1 image; a metric needs at least 2')
    metric = 'fid' if min(num, NUM_IMAGES) >= LEAST_FOR_FID else 'kid'
    name = f'{metric}{format_count(NUM_IMAGES)}_{split}_{next(iter(chosen))}'
    cfg.default_hooks.checkpoint.update(save_best=name, rule='less')
    if patience is not None:
        hook = dict(type='ResumableEarlyStoppingHook', monitor=name, rule='less', patience=patience)
        cfg.custom_hooks = [*cfg.custom_hooks, hook]
    return name
