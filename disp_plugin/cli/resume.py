"""Continue a run: find its newest checkpoint, and compare the config in it with the run's."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from disp_plugin.applications.load_gan import find_checkpoint, list_snapshots, read_checkpoint
from disp_plugin.distributed import read_launch
from disp_plugin.literals import parse_config_text
from disp_plugin.weights import NonFiniteError, find_non_finite

__all__ = ['check_resume', 'compare_configs', 'set_resume']

# What the weights, the optimizers' moments and the draws of a run belong to.
_BOUND = (
    r'(model|encoder|train_dataloader|optim_wrapper|param_scheduler|train_cfg|randomness)(\.|$)'
)
# Within that: places, amounts, and what is used only as a run begins. The bank and the encoder's
# weights are compared by their fingerprints. PrecisionOptimWrapper tells what it goes on with.
_FREE = (
    r'optim_wrapper(\.(?!optimizer)\w+)?\.(type|precision|loss_scale)$|'
    r'model\.pretrained(\.|$)|model\.data_preprocessor\.type$|.*\.(data_root|ann_file|bank_file|'
    r'checkpoint|download|batch_size|num_workers|persistent_workers|pin_memory|prefetch_factor|'
    r'cache_memory|max_iters|val_begin|val_interval|dynamic_intervals)$'
)
_ALWAYS_OTHER = ('resume', 'load_from')


def set_resume(cfg: Config, resume: bool, checkpoint: str | None) -> None:
    """Make the run continue from a checkpoint, or from the newest of its work folder.

    Where the work folder holds none, the run begins. With both, the checkpoint counts only there:
    a cluster gives the same command again.

    Raises:
        FileNotFoundError: The checkpoint does not exist, or the newest one is gone; the newest that
            can be read is named.
    """
    folder = Path(cfg.get('work_dir') or '.')
    has_saved = (folder / 'last_checkpoint').is_file() or bool(list_snapshots(folder))
    if resume and has_saved:
        checkpoint = None
    if checkpoint is not None or (resume and has_saved):
        file = find_checkpoint(folder if checkpoint is None else checkpoint)
        if not file.is_file():
            raise FileNotFoundError(f'the checkpoint {file} to resume from does not exist')
        cfg.load_from = str(file)
        cfg.resume = True
    elif resume:
        cfg.resume = not cfg.get('load_from')  # mmengine would take that for the run's own


def check_resume(cfg: Config) -> None:
    """Check that the checkpoint to continue from is whole and fits the run's config.

    What differs but does no harm is printed.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: It is damaged or has values that are not finite, is not of a training run, or
            was made with a config that differs in what cannot change while a run goes on; each
            difference is named.
    """
    if not cfg.get('resume') or not cfg.get('load_from'):
        return
    file = Path(cfg.load_from)
    content = read_checkpoint(file)
    meta = content.get('meta')
    if not isinstance(meta, Mapping) or 'iter' not in meta or 'optimizer' not in content:
        raise ValueError(
            f'{file} holds weights, but not the iteration and the optimizers of a run that could '
            f'go on; start from its weights by model.pretrained.checkpoint={file}'
        )
    fault = find_non_finite({**content['state_dict'], 'optimizer': content.get('optimizer')})
    if fault is not None:
        raise NonFiniteError(
            f'{file} cannot be used: {fault}; give an earlier snapshot by --resume-from'
        )
    try:
        stored = parse_config_text(str(meta['cfg']))
    except (KeyError, ValueError):
        _say(f'{file} holds no config that could be compared with this one')
        return
    bound, others = compare_configs(stored, cfg.to_dict())
    if bound:
        raise ValueError(
            f'{file} was made with another config: {_list_changes(bound)}. This cannot change '
            'while a run goes on: give the old values, or begin anew in another --work-dir (with '
            f'its weights: model.pretrained.checkpoint={file})'
        )
    if others:
        _say(
            f'going on from {file} with another config, which is possible: {_list_changes(others)}'
        )


def compare_configs(
    stored: Mapping[str, Any], current: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """Compare two configs of a run, entry by entry.

    Returns:
        tuple[list[str], list[str]]: Changes that a run cannot go on with, and others, such as
        'model.prior_norm: none -> l2'.
    """
    before, after = dict(_flatten(stored)), dict(_flatten(current))
    bound: list[str] = []
    others: list[str] = []
    for name in dict.fromkeys([*before, *after]):
        old, new = (entries.get(name, 'not set') for entries in (before, after))
        if old == new or name in _ALWAYS_OTHER:
            continue
        is_bound = re.match(_BOUND, name) and not re.match(_FREE, name)
        (bound if is_bound else others).append(f'{name}: {str(old)[:60]} -> {str(new)[:60]}')
    return bound, others


def _flatten(value: Any, name: str = '') -> Iterator[tuple[str, Any]]:
    """Give the entries of nested dicts and lists by dotted names; None stands for no entry."""
    if isinstance(value, list | tuple):
        value = dict(enumerate(value)) if any(isinstance(v, Mapping) for v in value) else value
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flatten(inner, f'{name}.{key}' if name else str(key))
    elif value is not None:
        yield name, list(value) if isinstance(value, tuple) else value


def _list_changes(changes: list[str], limit: int = 8) -> str:
    rest = f'; ... ({len(changes)} in all)' if len(changes) > limit else ''
    return '; '.join(changes[:limit]) + rest


def _say(text: str) -> None:
    if read_launch().rank == 0:
        print(text)
