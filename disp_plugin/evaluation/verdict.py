"""One sentence on memorization, and the evidence for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .findings import (
    COPYING_BELOW,
    UNDERFITTING_ABOVE,
    Finding,
    History,
    Severity,
    find_signs,
    read_numbers,
)

__all__ = ['Verdict', 'judge_run']


class Verdict(NamedTuple):
    """What a run's numbers say of memorization.

    Attributes:
        severity (str): 'good', 'warning' or 'unknown'.
        sentence (str): The verdict.
        findings (list[Finding]): All that was found, warnings first.
    """

    severity: Severity
    sentence: str
    findings: list[Finding]


def judge_run(
    cards: Iterable[Mapping[str, Any]], history: History = (), measured: str = ''
) -> Verdict:
    """Judge from metric cards whether a GAN repeats its training images.

    Copying is what the data-copying test C_T shows. Without it a model that is nearer to the
    held-out images than its memorization floor is cleared, for no copy could be; one that is not
    may be a poor model as well as a copying one, so that nothing is said.

    Args:
        cards (Iterable[Mapping[str, Any]]): The run's metric cards.
        history (History): Its validations in order. Defaults to (), none.
        measured (str): Where the cards are not those of the snapshot that is looked at, what they
            are of, such as 'at iteration 800'. Defaults to ''.

    Returns:
        Verdict: The sentence and its evidence.
    """
    cards = list(cards)
    at = f', measured {measured}' if measured else ''
    findings = find_signs(cards, history)
    copying = [f for f in findings if f.subject == 'copying' and f.severity != 'unknown']
    if any(_is_copying(finding) for finding in copying):
        return Verdict('warning', f'Signs of copying{at}: see C_T below.', findings)
    floors = {f.severity for f in findings if f.subject == 'floor'}
    cleared = 'good' in floors and 'warning' not in floors
    if copying or cleared:
        tests = ['the data-copying test'] * bool(copying) + ['the memorization floor'] * cleared
        sentence = f'No sign of copying, by {" and ".join(tests)}'
        if copying and all(map(_is_underfitting, copying)):
            sentence += ', in a model that underfits'
        return Verdict('good', f'{sentence}{at}.', findings)
    return Verdict('unknown', _say_what_is_missing(cards), findings)


def _is_copying(finding: Finding) -> bool:
    return any(value < COPYING_BELOW for value in finding.numbers.values())


def _is_underfitting(finding: Finding) -> bool:
    return all(value > UNDERFITTING_ABOVE for value in finding.numbers.values())


def _say_what_is_missing(cards: list[Mapping[str, Any]]) -> str:
    splits = {number.name.split for number in read_numbers(cards)}
    if splits <= {'train'}:
        return 'Cannot tell: no held-out images were given.'
    return (
        'Cannot tell: neither the data-copying test (C_T) nor a number below its memorization '
        'floor is there.'
    )
