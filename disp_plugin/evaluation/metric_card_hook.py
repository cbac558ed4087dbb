"""Keeps every number of a run, with its protocol, in a file of its work folder."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator
from typing import Any

from mmagic.registry import HOOKS
from mmengine.dist import master_only
from mmengine.hooks import Hook

from disp_plugin.distributed import unwrap_model
from disp_plugin.hooks import training_iteration

from .metric_card import CARDS_FILE, choose_headline, format_cards, write_cards


@HOOKS.register_module()
class MetricCardHook(Hook):
    """After each validation or test, add the cards of its numbers to ``metric_cards.json``."""

    priority = 'LOW'

    def __init__(self) -> None:
        self._tested: dict[str, Any] = {}

    def before_train(self, runner: Any) -> None:
        """Find missing, damaged and wrong held-out images before a run of days.

        Args:
            runner (Runner): The runner.
        """
        for evaluator, loader in _list_evaluators(runner.val_loop):
            evaluator.prepare_metrics(unwrap_model(runner.model), loader)

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Note which snapshot is tested.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): Its content.
        """
        file = osp.basename(str(getattr(runner, '_load_from', None) or ''))
        iteration = (checkpoint.get('meta') or {}).get('iter')
        self._tested = {'file': file, 'iteration': iteration}

    @master_only
    def after_val_epoch(self, runner: Any, metrics: dict | None = None) -> None:
        """Write the cards of a validation.

        Args:
            runner (Runner): The runner.
            metrics (dict, optional): Values by name; not used. Defaults to None.
        """
        iteration = training_iteration(runner)
        snapshot = self._tested if iteration is None else {'iteration': iteration}
        self._write(runner, runner.val_loop, snapshot)

    @master_only
    def after_test_epoch(self, runner: Any, metrics: dict | None = None) -> None:
        """Write the cards of a test.

        Args:
            runner (Runner): The runner.
            metrics (dict, optional): Values by name; not used. Defaults to None.
        """
        self._write(runner, runner.test_loop, self._tested)

    def _write(self, runner: Any, loop: Any, snapshot: dict[str, Any]) -> None:
        snapshot = {**snapshot, 'run': osp.basename(osp.abspath(runner.work_dir))}
        cards = [{**card, 'snapshot': snapshot} for card in _list_cards(loop)]
        if not cards:
            return
        write_cards(osp.join(runner.work_dir, CARDS_FILE), cards)
        headline = choose_headline(cards)
        if headline is not None:
            runner.logger.info(f'the number to look at first: {format_cards([headline])}')


def _list_evaluators(loop: Any) -> list[tuple[Any, Any]]:
    """Pair mmagic's evaluators with their data loaders; without validation there is none."""
    evaluators = getattr(loop, 'evaluators', None) or []
    pairs = zip(evaluators, getattr(loop, 'dataloaders', []), strict=False)
    return [(e, loader) for e, loader in pairs if hasattr(e, 'set_references')]


def _list_cards(loop: Any) -> Iterator[dict[str, Any]]:
    evaluators = getattr(loop, 'evaluators', None) or [getattr(loop, 'evaluator', None)]
    for evaluator in evaluators:
        for metric in getattr(evaluator, 'metrics', None) or ():
            yield from getattr(metric, 'cards', ())
