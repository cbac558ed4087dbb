"""Metric cards by their names, for tests of what reads them."""

import re

from disp_plugin.evaluation.metric_card import (
    BETTER,
    ImageSet,
    MetricCard,
    Protocol,
    Snapshot,
    Space,
)

_METRICS = '|'.join(sorted(BETTER, key=len, reverse=True))
_NAME = re.compile(rf'({_METRICS})(\d*)(?:_k(\d+))?_([^_]+)(?:_(.+))?')


def card(
    name,
    value,
    sd=None,
    iteration=None,
    run='',
    reference='A',
    space='',
    seed=0,
    file='',
    start='',
    **fields,
):
    """Make a card such as ``precision1000_k10_val_pixels``; images and space by a fingerprint."""
    metric, num, k, split, space_name = _NAME.fullmatch(name).groups()
    protocol = Protocol(
        metric,
        split,
        int(num or 0),
        k=int(k) if k else None,
        space=Space(space_name, fingerprint=space) if space_name else None,
        reference=ImageSet(split, 200, fingerprint=reference),
        seed=seed,
        **fields,
    )
    made = MetricCard(protocol, value, sd, snapshot=Snapshot(iteration, file, run, start))
    assert made.name == name
    return made
