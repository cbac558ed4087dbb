"""Keeps every number of a run, with its protocol, in a file of its work folder."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator
from typing import Any

from mmagic.registry import HOOKS
from mmengine.dist import master_only
from mmengine.hooks import Hook

from .metric_card import CARDS_FILE, choose_headline, format_cards, write_cards


@HOOKS.register_module()
class MetricCardHook(Hook):
    """After each validation or test, add the cards of its numbers to ``metric_cards.json``."""

    # After CheckpointHook, which saves the best snapshot during the same event.
    priority = 'LOW'

    @master_only
    def after_val_epoch(self, runner: Any, metrics: dict | None = None) -> None:
        """Write the cards of a validation.

        Args:
            runner (Runner): The runner.
            metrics (dict, optional): Values by name; not used. Defaults to None.
        """
        self._write(runner, runner.val_loop)

    @master_only
    def after_test_epoch(self, runner: Any, metrics: dict | None = None) -> None:
        """Write the cards of a test.

        Args:
            runner (Runner): The runner.
            metrics (dict, optional): Values by name; not used. Defaults to None.
        """
        self._write(runner, runner.test_loop)

    def _write(self, runner: Any, loop: Any) -> None:
        snapshot = {'iteration': runner.iter}
        cards = [{**card, 'snapshot': snapshot} for card in _list_cards(loop)]
        if not cards:
            return
        write_cards(osp.join(runner.work_dir, CARDS_FILE), cards)
        headline = choose_headline(cards)
        if headline is not None:
            runner.logger.info(f'the number to look at first: {format_cards([headline])}')


def _list_cards(loop: Any) -> Iterator[dict[str, Any]]:
    evaluators = getattr(loop, 'evaluators', None) or [getattr(loop, 'evaluator', None)]
    for evaluator in evaluators:
        for metric in getattr(evaluator, 'metrics', None) or ():
            yield from getattr(metric, 'cards', ())
