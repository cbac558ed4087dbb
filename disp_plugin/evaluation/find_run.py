"""What a work folder holds: snapshots, config and cards, as far as they are there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from disp_plugin.applications.load_gan import parse_config_text, read_checkpoint

from .metric_card import CARDS_FILE, read_cards

__all__ = ['Run', 'find_run']


class Run(NamedTuple):
    """What was found of a run.

    Attributes:
        work_dir (Path): Its folder, the one in which the snapshot lies.
        checkpoint (Path | None): The snapshot to report on; None where there is none.
        iteration (int | None): Its iteration.
        best (int | None): Iteration of the best snapshot that was kept.
        config_text (str): The config as mmengine writes it; '' where it was not found.
        cfg (Mapping[str, Any]): The same, read; empty where it cannot be.
        cards (list[dict[str, Any]]): Metric cards of all snapshots.
        meta (Mapping[str, Any]): What mmengine wrote into the snapshot, such as ``seed``.
        problems (list[str]): What is missing or damaged, in plain words.
        elsewhere (str): Where the snapshot lies in another folder than the one that was looked
            through: that it does, and that cards and logs are therefore left out; '' else.
    """

    work_dir: Path
    checkpoint: Path | None
    iteration: int | None
    best: int | None
    config_text: str
    cfg: Mapping[str, Any]
    cards: list[dict[str, Any]]
    meta: Mapping[str, Any]
    problems: list[str]
    elsewhere: str = ''


def find_run(work_dir: str | Path, checkpoint: str = 'best') -> Run:
    """Look through a work folder.

    Args:
        work_dir (str | Path): The run's work folder.
        checkpoint (str): 'best' for the best snapshot that was kept (the last, where none was),
            'last', or a file. Defaults to 'best'.

    Returns:
        Run: What was found; what is damaged is said, and left out. Of a file in another folder
        nothing but the file is looked at.

    Raises:
        FileNotFoundError: The folder or the file does not exist, or the folder is no run's.
    """
    folder = Path(work_dir)
    if not folder.is_dir():
        raise FileNotFoundError(f'the work folder {work_dir} does not exist')
    problems: list[str] = []
    file = _choose_checkpoint(folder, checkpoint, problems)
    logs = sorted(folder.glob('*/vis_data/config.py'))
    if file is None and not logs and not (folder / CARDS_FILE).is_file():
        raise FileNotFoundError(
            f'{work_dir} is no work folder of a run: it holds neither a checkpoint nor a log; give '
            'the folder that tools/train.py wrote (--work-dir)'
        )
    meta = _read_meta(file, problems)
    elsewhere = _say_elsewhere(file, folder)
    if file is not None and elsewhere:
        folder, logs = file.parent, []
        problems.append(elsewhere)
    text = meta.get('cfg')
    if not isinstance(text, str):
        text = logs[-1].read_text(encoding='utf-8', errors='replace') if logs else ''
    iteration = meta.get('iter')
    best = None if elsewhere else _find_best(folder)
    return Run(
        work_dir=folder,
        checkpoint=file,
        iteration=iteration if isinstance(iteration, int) else None,
        best=None if best is None else _iteration_of(best),
        config_text=text,
        cfg=_read_config(text, problems),
        cards=[] if elsewhere else _read_cards(folder, problems),
        meta=meta,
        problems=problems,
        elsewhere=elsewhere,
    )


def _say_elsewhere(file: Path | None, folder: Path) -> str:
    if file is None or file.parent.resolve() == folder.resolve():
        return ''
    return (
        f'The snapshot {file} does not lie in {folder}: the numbers and curves of that folder are '
        'not its own, and are left out.'
    )


def _choose_checkpoint(folder: Path, checkpoint: str, problems: list[str]) -> Path | None:
    if checkpoint not in ('best', 'last'):
        if not Path(checkpoint).is_file():
            raise FileNotFoundError(
                f'the checkpoint {checkpoint} does not exist; --checkpoint takes best, last or a '
                'file'
            )
        return Path(checkpoint)
    if checkpoint == 'best':
        best = _find_best(folder)
        if best is not None:
            return best
    snapshots = [file for file in folder.glob('*.pth') if not file.name.startswith('best_')]
    last = max(snapshots, key=lambda file: _iteration_of(file) or -1, default=None)
    if last is None:
        problems.append('The folder holds no checkpoint, so that nothing can be sampled.')
    elif checkpoint == 'best':
        problems.append(
            'No best snapshot was kept: this is the last one. A run keeps the best one with '
            'default_hooks.checkpoint.save_best=NAME_OF_A_METRIC.'
        )
    return last


def _find_best(folder: Path) -> Path | None:
    files = sorted(folder.glob('best_*.pth'), key=lambda file: file.stat().st_mtime)
    return files[-1] if files else None


def _iteration_of(file: Path) -> int | None:
    match = re.search(r'iter_(\d+)\.pth$', file.name)
    return int(match.group(1)) if match else None


def _read_meta(file: Path | None, problems: list[str]) -> Mapping[str, Any]:
    if file is None:
        return {}
    try:
        meta = read_checkpoint(file).get('meta')
    except ValueError as error:
        problems.append(f'The checkpoint cannot be read: {error}')
        return {}
    return meta if isinstance(meta, dict) else {}


def _read_config(text: str, problems: list[str]) -> Mapping[str, Any]:
    try:
        return parse_config_text(text)
    except (ValueError, RecursionError) as error:
        problems.append(f'The config cannot be read: {error}')
        return {}


def _read_cards(folder: Path, problems: list[str]) -> list[dict[str, Any]]:
    if not (folder / CARDS_FILE).is_file():
        return []
    try:
        return read_cards(folder / CARDS_FILE)
    except (ValueError, RecursionError) as error:
        problems.append(f'The metric cards cannot be read: {error}')
        return []
