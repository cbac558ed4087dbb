"""Says during training, in plain words, that a GAN begins to learn its images by heart."""

from __future__ import annotations

import math
from typing import Any

from mmagic.registry import HOOKS
from mmengine.hooks import Hook

from disp_plugin.hooks import training_iteration

from .findings import Finding, History, find_signs
from .metric_name import MetricName

HISTORY = 'overfitting_history'
WARNED = 'overfitting_warned'


@HOOKS.register_module()
class OverfittingHook(Hook):
    """After each validation, warn of what its numbers show: once, until it changes.

    Underfitting is no such sign, and a number above its memorization floor is one only once it has
    ceased to get better: both are said in the report, not here.

    The rules are those of the report (:mod:`.findings`). They read the names of the numbers, such
    as ``copying1000_val_pixels``; others are left alone. What was measured before, which trends
    need, is in every checkpoint.

    It only warns. To stop, use ``ResumableEarlyStoppingHook(monitor=..., rule='less')``; to keep
    the best snapshot, ``CheckpointHook(save_best=..., rule='less')``.
    """

    # Before CheckpointHook, so that the best snapshot knows of the validation that made it best.
    priority = 'NORMAL'

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Warn of what is new.

        Args:
            runner (Runner): The runner.
            metrics (dict[str, float] | None): Values by name. Defaults to None, nothing.
        """
        values = {
            name.rsplit('/', 1)[-1]: float(value)
            for name, value in (metrics or {}).items()
            if MetricName.parse(name) and isinstance(value, (int, float))
        }
        if not values:
            return
        history = self._remember(runner, values)
        cards = [{'name': name, 'value': value} for name, value in values.items()]
        warnings = {
            _identify(finding): finding
            for finding in find_signs(cards, history)
            if finding.severity == 'warning' and not _is_too_early(finding, history)
        }
        before = runner.message_hub.runtime_info.get(WARNED, [])
        for identity, finding in warnings.items():
            if identity not in before:
                runner.logger.warning(f'{finding.text} (rule: {finding.rule})')
        for identity in before:
            if identity not in warnings:
                runner.logger.info(f'no longer so: the warning of {identity}')
        runner.message_hub.update_info(WARNED, sorted(warnings))

    def _remember(self, runner: Any, values: dict[str, float]) -> list:
        """Add a validation to those of the past, in place of any that a resume undid."""
        hub = runner.message_hub
        iteration = training_iteration(runner) or 0
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        past = [entry for entry in hub.runtime_info.get(HISTORY, []) if entry[0] < iteration]
        history = [*past, [iteration, finite]]
        hub.update_info(HISTORY, history)
        return history


def _identify(finding: Finding) -> str:
    """Name a finding without its numbers, which change with each validation."""
    return f'{finding.subject} by {", ".join(finding.numbers)}'


def _is_too_early(finding: Finding, history: History) -> bool:
    """Tell whether a finding is what any run that is still learning shows."""
    if finding.subject == 'copying':
        return all(value > 0 for value in finding.numbers.values())
    if finding.subject != 'floor':
        return False
    name = next(iter(finding.numbers))
    values = [metrics[name] for _, metrics in history if name in metrics]
    return values[-1:] == [min(values, default=math.nan)]
