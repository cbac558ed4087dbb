"""The scalars of a run from mmengine's logs, as one series each."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .findings import as_float
from .metric_name import MetricName

__all__ = ['RunLog', 'read_log']

MAX_ITERATION = 2**53
"""Beyond, an iteration is no number that could be drawn."""


class RunLog(NamedTuple):
    """What a run logged.

    Attributes:
        series (dict[str, list[tuple[int, float]]]): By name of the scalar, pairs of iteration and
            value, in order of iterations; values are finite.
        problems (list[str]): What could not be read, in plain words.
    """

    series: dict[str, list[tuple[int, float]]]
    problems: list[str]

    def history(self) -> list[tuple[int, dict[str, float]]]:
        """List the validations, for the rules that look for trends.

        Returns:
            list[tuple[int, dict[str, float]]]: Iteration, and values by name of the metric.
        """
        by_iteration: dict[int, dict[str, float]] = {}
        for name, pairs in self.series.items():
            if MetricName.parse(name):
                for iteration, value in pairs:
                    by_iteration.setdefault(iteration, {})[name] = value
        return sorted(by_iteration.items())


def read_log(work_dir: str | Path) -> RunLog:
    """Merge the logs of a run and of all that resumed it.

    Each start of a run has a folder named by its time. What an earlier one logged of iterations
    that a later one did again is left out.

    Args:
        work_dir (str | Path): The run's work folder.

    Returns:
        RunLog: The series; empty where nothing was logged.
    """
    records: list[dict[str, Any]] = []
    problems: list[str] = []
    for folder in sorted(Path(work_dir).glob('*/vis_data')):
        session = list(_read_session(folder, problems))
        trained = [record['step'] for record in session if 'iter' in record]
        if not trained:
            continue  # a validation alone, which has no place on the axis of iterations
        first = min(trained)
        records = [record for record in records if record['step'] < first] + session
    series: dict[str, dict[int, float]] = {}
    num_lost = 0
    for record in records:
        for name, value in record.items():
            if name in ('iter', 'step', 'epoch'):
                continue
            number = as_float(value)
            if number is not None and math.isfinite(number):
                series.setdefault(name, {})[record['step']] = number
            else:
                num_lost += 1
    if num_lost:
        problems.append(f'{num_lost} logged values are not finite numbers; the curves omit them')
    return RunLog({name: sorted(pairs.items()) for name, pairs in series.items()}, problems)


def _read_session(folder: Path, problems: list[str]) -> Iterator[dict[str, Any]]:
    """Read the records of one start of a run that have an iteration."""
    file = folder / 'scalars.json'
    if not file.is_file():
        return
    num_bad = 0
    for line in file.read_bytes().splitlines():
        try:
            record = json.loads(line)
            if not isinstance(record['step'], int) or not 0 <= record['step'] < MAX_ITERATION:
                raise ValueError
        except (ValueError, KeyError, TypeError, RecursionError):
            num_bad += 1
            continue
        yield record
    if num_bad:
        name = f'{folder.parent.name}/{folder.name}/{file.name}'
        problems.append(f'{num_bad} lines of the log {name} are damaged; the curves omit them')
