"""What happens after a validation: cards are kept, and signs of overfitting are told."""

from __future__ import annotations

import dataclasses
import os.path as osp
from contextlib import suppress

from mmagic.registry import HOOKS
from mmengine.dist import master_only
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner

from disp_plugin.distributed import unwrap_model
from disp_plugin.hooks import training_iteration

from .held_out import find_training_images
from .metric_card import (
    CARDS_FILE,
    MetricCard,
    Snapshot,
    choose_headline,
    format_cards,
    read_start,
    write_cards,
)
from .metrics.standard_evaluator import StandardEvaluator
from .report.findings import Finding, History, Series, find_signs
from .spaces import run_encoder

__all__ = ['MetricCardHook', 'OverfittingHook']

HISTORY = 'overfitting_history'
WARNED = 'overfitting_warned'


@HOOKS.register_module()
class MetricCardHook(Hook):
    """Hand the run's encoder and training images to its metrics, and keep their cards.

    After each validation or test the cards are added to ``metric_cards.json``.
    """

    priority = 'LOW'
    _tested = Snapshot()

    def before_run(self, runner: Runner) -> None:
        """Tell the evaluators what the run trains on, and by which priors."""
        train = None
        with suppress(KeyError, TypeError, ValueError):
            # a run without training images goes on; metrics that need them say so
            train = find_training_images(runner.cfg)
        for loop in (runner._val_loop, runner._test_loop):
            for evaluator in _evaluators(loop):
                if isinstance(evaluator, StandardEvaluator):
                    evaluator.use_run(run_encoder(runner.cfg), train)

    def before_train(self, runner: Runner) -> None:
        """Find missing, damaged and wrong held-out images before a run of days."""
        for evaluator, loader in zip(
            _evaluators(runner.val_loop), getattr(runner.val_loop, 'dataloaders', []), strict=False
        ):
            if isinstance(evaluator, StandardEvaluator):
                evaluator.prepare_metrics(unwrap_model(runner.model), loader)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note which snapshot is tested."""
        file = osp.basename(str(getattr(runner, '_load_from', None) or ''))
        iteration = (checkpoint.get('meta') or {}).get('iter')
        self._tested = Snapshot(iteration, file, start=read_start(checkpoint))

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Write the cards of a validation."""
        iteration = training_iteration(runner)
        of_run = read_start({'message_hub': {'runtime_info': runner.message_hub.runtime_info}})
        snapshot = self._tested if iteration is None else Snapshot(iteration, start=of_run)
        self._write(runner, runner.val_loop, snapshot)

    @master_only
    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Write the cards of a test."""
        self._write(runner, runner.test_loop, self._tested)

    def _write(self, runner: Runner, loop: object, snapshot: Snapshot) -> None:
        run = osp.basename(osp.abspath(runner.work_dir))
        snapshot = dataclasses.replace(snapshot, run=run)
        cards = [card.of(snapshot) for card in _list_cards(loop)]
        if not cards:
            return
        write_cards(osp.join(runner.work_dir, CARDS_FILE), cards)
        headline = choose_headline(cards)
        if headline is not None:
            runner.logger.info(f'the number to look at first: {format_cards([headline])}')


def _evaluators(loop: object) -> list[Evaluator]:
    """List the evaluators of mmagic's loop, or of mmengine's."""
    own = getattr(loop, 'evaluator', None)
    return list(getattr(loop, 'evaluators', None) or ([own] if own else []))


def _list_cards(loop: object) -> list[MetricCard]:
    metrics = [m for evaluator in _evaluators(loop) for m in getattr(evaluator, 'metrics', ())]
    return [card for metric in metrics for card in getattr(metric, 'cards', ())]


@HOOKS.register_module()
class OverfittingHook(Hook):
    """After each validation, warn of what its numbers show: once, until it changes.

    Underfitting is no such sign. A number above its memorization floor is one only after it has
    ceased to get better: both are said in the report, not here.

    The rules are those of the report, applied to the metric cards of the validation. What was
    measured before, which trends need, is in every checkpoint.

    The hook only warns. To stop, use ``ResumableEarlyStoppingHook(monitor=..., rule='less')``; to
    keep the best snapshot, ``CheckpointHook(save_best=..., rule='less')``.
    """

    # Before CheckpointHook, so that the best snapshot knows of the validation that made it best.
    priority = 'NORMAL'

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Warn of what is new."""
        cards = _list_cards(runner.val_loop)
        if not metrics or not cards:
            return
        history = self._remember(runner, cards)
        warnings = {
            f'{finding.subject} by {", ".join(finding.numbers)}': finding
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

    def _remember(self, runner: Runner, cards: list[MetricCard]) -> History:
        """Add a validation to those of the past, in place of any that a resume undid."""
        hub = runner.message_hub
        iteration = training_iteration(runner) or 0
        past = [entry for entry in hub.runtime_info.get(HISTORY, []) if entry[0] < iteration]
        entries = [*past, [iteration, {card.name: card.value for card in cards}]]
        hub.update_info(HISTORY, entries)
        return {
            card.name: Series(
                card.protocol, [(i, found[card.name]) for i, found in entries if card.name in found]
            )
            for card in cards
        }


def _is_too_early(finding: Finding, history: History) -> bool:
    """Tell whether a finding is what any run that is still learning shows."""
    if finding.subject == 'copying':
        return all(value > 0 for value in finding.numbers.values())
    if finding.subject != 'floor':
        return False
    values = history[next(iter(finding.numbers))].values
    return values[-1] == min(values)
