"""What a work folder holds: snapshots, config, cards and logs, as far as they are there."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from disp_plugin.applications.load_gan import find_checkpoint, read_checkpoint
from disp_plugin.literals import parse_config_text

from .metric_card import CARDS_FILE, MetricCard, read_cards, read_start
from .spaces import Config

__all__ = ['Run', 'RunLog', 'find_run', 'read_log']

Content = TypeVar('Content')


@dataclass(frozen=True)
class Run:
    """What was found of a run."""

    work_dir: Path
    """The folder in which the snapshot lies."""
    checkpoint: Path | None
    """The snapshot to report on."""
    start: str
    """When its run was first started, of :func:`read_start`; '' where unknown."""
    iteration: int | None
    """That of the snapshot."""
    best: int | None
    """Iteration of the best snapshot that was kept."""
    config_text: str
    """The config as mmengine writes it; '' where it was not found."""
    cfg: Config
    """The same, read; empty where it cannot be."""
    cards: list[MetricCard]
    """Metric cards of all snapshots."""
    name: str
    seed: int | None
    """That of the snapshot."""
    problems: list[str]
    """What is missing or damaged, in plain words."""
    elsewhere: str
    """Says that the snapshot is of another folder or run than what was looked through, and that
    cards and logs are therefore left out; '' otherwise."""


class RunLog(NamedTuple):
    """What a run logged."""

    series: dict[str, list[tuple[int, float]]]
    """By name of the scalar, iterations in order and values, which are finite."""
    problems: list[str]
    """What could not be read, in plain words."""


def find_run(work_dir: str | Path, checkpoint: str = 'best') -> Run:
    """Look through a work folder for the run that its newest checkpoint belongs to.

    Best snapshots, cards and logs of an older run in the same folder are left out.

    Args:
        work_dir (str | Path): The run's work folder.
        checkpoint (str): 'best' for the best snapshot that was kept (the last, where none was),
            'last', or a file. Defaults to 'best'.

    Returns:
        Run: What was found. If the file lies in another folder, or belongs to another run, nothing
        but the file is looked at.

    Raises:
        FileNotFoundError: The folder or the file does not exist, or the folder is no run's.
    """
    folder = Path(work_dir)
    if not folder.is_dir():
        raise FileNotFoundError(f'the work folder {work_dir} does not exist')
    problems: list[str] = []
    newest = _find_newest(folder, problems)
    start = '' if newest is None else _read_start_of(newest) or ''
    best = _find_best(folder, start, problems)
    file = _choose_checkpoint(checkpoint, best, newest, problems)
    logs = sorted(folder.glob('*/vis_data/config.py'))
    if file is None and not logs and not (folder / CARDS_FILE).is_file():
        raise FileNotFoundError(
            f'{work_dir} is no work folder of a run: it holds neither a checkpoint nor a log; give '
            'the folder that tools/train.py wrote (--work-dir)'
        )
    content: Mapping[str, Any] = {}
    if file is not None:
        content = _attempt(lambda: read_checkpoint(file), 'checkpoint', {}, problems)
    meta: object = content.get('meta')
    meta = meta if isinstance(meta, dict) else {}
    elsewhere = '' if file is None else _tell_elsewhere(file, folder, start, content)
    if file is not None and elsewhere:
        problems.append(elsewhere)
        folder, logs, start, best = file.parent, [], read_start(content), None
    text = meta.get('cfg')
    if not isinstance(text, str):
        text = logs[-1].read_text(encoding='utf-8', errors='replace') if logs else ''
    iteration, seed = meta.get('iter'), meta.get('seed')
    return Run(
        work_dir=folder,
        checkpoint=file,
        start=start,
        iteration=iteration if isinstance(iteration, int) else None,
        best=_iteration_of(best),
        config_text=text,
        cfg=_attempt(lambda: parse_config_text(text), 'config', {}, problems),
        cards=[] if elsewhere else _read_own_cards(folder / CARDS_FILE, start, problems),
        name=str(meta.get('experiment_name') or folder.resolve().name),
        seed=seed if isinstance(seed, int) else None,
        problems=problems,
        elsewhere=elsewhere,
    )


def _tell_elsewhere(file: Path, folder: Path, start: str, content: Mapping[str, Any]) -> str:
    """Say that a snapshot is not of the folder's run; '' where it is."""
    if file.parent.resolve() != folder.resolve():
        return (
            f'The snapshot {file} does not lie in {folder}: the numbers and curves of that folder '
            'are not its own, and are left out.'
        )
    if start and content and read_start(content) != start:
        return (
            f'The snapshot {file} belongs to another run than the newest checkpoint of {folder}: '
            'the numbers and curves of that run are not its own, and are left out.'
        )
    return ''


def _read_own_cards(file: Path, start: str, problems: list[str]) -> list[MetricCard]:
    """Read the cards of a folder, but for those of another run."""
    if not file.is_file():
        return []
    empty: list[MetricCard] = []
    cards = _attempt(lambda: read_cards(file), 'metric cards', empty, problems)
    own = [card for card in cards if not start or card.snapshot.start in ('', start)]
    if len(own) < len(cards):
        problems.append(
            f'{len(cards) - len(own)} numbers of another run in this folder are left out.'
        )
    return own


def _read_start_of(file: Path) -> str | None:
    """Read it of a file; None of a damaged one."""
    try:
        return read_start(read_checkpoint(file))
    except (OSError, ValueError):
        return None


def _find_newest(folder: Path, problems: list[str]) -> Path | None:
    """Find what was saved last, or went farthest, of all but the best snapshots."""
    try:
        named = find_checkpoint(folder)
        if named.parent.resolve() == folder.resolve():
            return named
    except FileNotFoundError as error:
        if (folder / 'last_checkpoint').is_file():
            problems.append(str(error))
    snapshots = [file for file in folder.glob('*.pth') if not file.name.startswith('best_')]
    return max(snapshots, key=lambda file: _iteration_of(file) or -1, default=None)


def _choose_checkpoint(
    checkpoint: str, best: Path | None, newest: Path | None, problems: list[str]
) -> Path | None:
    if checkpoint not in ('best', 'last'):
        if not Path(checkpoint).is_file():
            raise FileNotFoundError(
                f'the checkpoint {checkpoint} does not exist; --checkpoint takes best, last or a '
                'file'
            )
        return Path(checkpoint)
    if checkpoint == 'best' and best is not None:
        return best
    if newest is None:
        problems.append('The folder holds no checkpoint: nothing can be sampled.')
    elif checkpoint == 'best':
        problems.append(
            'No best snapshot was kept: this is the last one. A run keeps the best one with '
            'default_hooks.checkpoint.save_best=NAME_OF_A_METRIC.'
        )
    return newest


def _find_best(folder: Path, start: str, problems: list[str]) -> Path | None:
    """Find the newest best snapshot of the run that was started then."""
    files = sorted(folder.glob('best_*.pth'), key=lambda file: file.stat().st_mtime)
    others = [file for file in files if start and _read_start_of(file) not in (None, start)]
    own = [file for file in files if file not in others]
    if others:
        names = ', '.join(file.name for file in others)
        problems.append(f'{names}: of another run in this folder, and left out.')
    return own[-1] if own else None


def _iteration_of(file: Path | None) -> int | None:
    match = re.search(r'iter_(\d+)\.pth$', file.name) if file else None
    return int(match.group(1)) if match else None


def _attempt(
    read: Callable[[], Content], what: str, instead: Content, problems: list[str]
) -> Content:
    try:
        return read()
    except (ValueError, RecursionError) as error:
        problems.append(f'The {what} cannot be read: {error}')
        return instead


def read_log(work_dir: str | Path, start: str = '') -> RunLog:
    """Merge the logs of a run and of all that resumed it, from its work folder.

    Each start of a run has a folder named by its time. If a later start did iterations again, its
    records replace the earlier ones.

    Args:
        work_dir (str | Path): The folder.
        start (str): Of :func:`read_start`: older logs, and later ones of what resumed no run, are
            left out. Defaults to '': all are of one run.
    """
    records: list[tuple[int, dict[str, object]]] = []
    problems: list[str] = []
    for folder in sorted(Path(work_dir).glob('*/vis_data')):
        if start and not _continues(folder, start):
            continue
        session = list(_read_session(folder, problems))
        trained = [step for step, record in session if 'iter' in record]
        if not trained:
            continue  # a validation alone, which has no place on the axis of iterations
        first = min(trained)
        records = [record for record in records if record[0] < first] + session
    series: dict[str, dict[int, float]] = {}
    num_lost = 0
    for step, record in records:
        for name, value in record.items():
            if name in ('iter', 'step', 'epoch'):
                continue
            if isinstance(value, float | int) and math.isfinite(value):
                series.setdefault(name.rsplit('/', 1)[-1], {})[step] = value
            else:
                num_lost += 1
    if num_lost:
        problems.append(f'{num_lost} logged values are not finite numbers; the curves omit them')
    return RunLog({name: sorted(pairs.items()) for name, pairs in series.items()}, problems)


def _continues(folder: Path, start: str) -> bool:
    """Tell whether a log is of a run's first start, or of a later one that resumed."""
    name, config = folder.parent.name, folder / 'config.py'
    if name <= start or not config.is_file():
        return name >= start
    text = config.read_text(encoding='utf-8', errors='replace')
    return re.search(r'^resume = True$', text, re.MULTILINE) is not None


def _read_session(folder: Path, problems: list[str]) -> Iterator[tuple[int, dict[str, object]]]:
    """Read the records of one start of a run that have an iteration."""
    file = folder / 'scalars.json'
    if not file.is_file():
        return
    num_bad = 0
    for line in file.read_bytes().splitlines():
        try:
            record = json.loads(line)
            if not isinstance(record['step'], int):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            num_bad += 1
            continue
        yield record['step'], record
    if num_bad:
        name = f'{folder.parent.name}/{folder.name}/{file.name}'
        problems.append(f'{num_bad} lines of the log {name} are damaged; the curves omit them')
