"""Rules that read a run's numbers, what each finds in plain words, and the verdict."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from ..metric_card import MetricCard, Protocol

__all__ = ['Finding', 'History', 'Series', 'Severity', 'Verdict', 'find_signs', 'judge_run']

COPYING_BELOW = -3.0
"""C_T is a z-score (Meehan et al. 2020, arXiv 2004.05675), whose sign is the paper's (DISP, arXiv
2012.04256, Table 6); three standard deviations were chosen here."""
UNDERFITTING_ABOVE = 3.0
"""As COPYING_BELOW, on the other side."""
SCORE_GAP_SD = 1.0
"""Of the held-out scores; chosen here."""
NUM_SD = 2.0
"""Combined standard deviations that tell a number from its floor; chosen here."""
LOW_RECALL = 0.05
"""Chosen here; the paper's few-shot rows lie between 0.00 and 0.22."""
HIGH_PRECISION = 0.5
"""Chosen here."""
NUM_VALIDATIONS = 3
"""How many in a row make a trend; chosen here."""
MARGIN = 0.1
"""How much worse than its best a distance must be, as a fraction of it; chosen here."""
FRACTION_MARGIN = 0.05
"""The same for numbers between 0 and 1, in their own units; chosen here."""
PRIOR_SPACE = 'prior'
"""Name of the space of the prior's own encoder."""

_DISTANCES = ('fid', 'kid', 'fid_inverted', 'ivom')
_FRACTIONS = ('precision', 'recall', 'coverage')

Severity = Literal['good', 'warning', 'unknown']


class Series(NamedTuple):
    """One number over the course of a run.

    Attributes:
        protocol (Protocol): How it was measured.
        points (list[tuple[int, float]]): Iteration and value, in order; values are finite.
    """

    protocol: Protocol
    points: list[tuple[int, float]]

    @property
    def values(self) -> list[float]:
        """list[float]: The values in order."""
        return [value for _, value in self.points]


History = Mapping[str, Series]
"""What a run's validations measured, by name of the number."""


class Finding(NamedTuple):
    """What one rule found.

    Attributes:
        subject (str): The rule: 'copying', 'floor', 'gap', 'recall', 'trend' or 'spaces'.
        severity (Severity): 'good', 'warning' or 'unknown'.
        text (str): The finding in plain words, with its numbers.
        rule (str): What was compared with what.
        numbers (dict[str, float]): The numbers that it rests on, by their names.
    """

    subject: str
    severity: Severity
    text: str
    rule: str
    numbers: dict[str, float]


class Verdict(NamedTuple):
    """What a run's numbers say about memorization.

    Attributes:
        severity (Severity): 'good', 'warning' or 'unknown'.
        sentence (str): The verdict.
        findings (list[Finding]): All that was found, warnings first.
    """

    severity: Severity
    sentence: str
    findings: list[Finding]


def judge_run(
    cards: Sequence[MetricCard], history: History | None = None, measured: str = ''
) -> Verdict:
    """Judge from metric cards whether a GAN repeats its training images.

    Copying is what the data-copying test C_T shows. Without it, a model that is nearer to the
    held-out images than its memorization floor is cleared, for no copy could be. One that is not
    may be poor or may copy; the verdict then stays open.

    Args:
        cards (Sequence[MetricCard]): The run's metric cards.
        history (History | None): Its validations. Defaults to None.
        measured (str): Says when the cards were measured if not at the reported snapshot, such as
            'at iteration 800'. Defaults to ''.

    Returns:
        Verdict: The sentence and its evidence.
    """
    at = f', measured {measured}' if measured else ''
    findings = find_signs(cards, history)
    copying = [f for f in findings if f.subject == 'copying' and f.severity != 'unknown']
    values = [next(iter(finding.numbers.values())) for finding in copying]
    if any(value < COPYING_BELOW for value in values):
        return Verdict('warning', f'Signs of copying{at}: see C_T below.', findings)
    floors = {f.severity for f in findings if f.subject == 'floor'}
    cleared = 'good' in floors and 'warning' not in floors
    if copying or cleared:
        tests = ['the data-copying test'] * bool(copying) + ['the memorization floor'] * cleared
        sentence = f'No sign of copying, by {" and ".join(tests)}'
        if copying and all(value > UNDERFITTING_ABOVE for value in values):
            sentence += ', in a model that underfits'
        return Verdict('good', f'{sentence}{at}.', findings)
    missing = (
        'neither the data-copying test (C_T) nor a number below its memorization floor is there'
    )
    if {card.protocol.split for card in cards} <= {'train'}:
        missing = 'no held-out images were given'
    return Verdict('unknown', f'Cannot tell: {missing}.', findings)


def find_signs(cards: Sequence[MetricCard], history: History | None = None) -> list[Finding]:
    """Apply all rules to the numbers of a run. A rule without its numbers finds nothing.

    Args:
        cards (Sequence[MetricCard]): The run's metric cards.
        history (History | None): Its validations, for trends. Defaults to None.

    Returns:
        list[Finding]: What was found, warnings first.
    """
    history = history or {}
    floors = list(_compare_with_floors(cards))
    found = [
        *_find_copying(cards),
        *(finding for _, finding in floors),
        *_find_gaps(cards, history),
        *_find_low_recall(cards),
        *_find_trends(history),
        *_find_disagreement(floors),
    ]
    order = {'warning': 0, 'unknown': 1, 'good': 2}
    return sorted(found, key=lambda finding: order[finding.severity])


def _of(cards: Iterable[MetricCard], *metrics: str) -> list[MetricCard]:
    return [card for card in cards if card.protocol.metric in metrics]


def _find_copying(cards: Sequence[MetricCard]) -> Iterator[Finding]:
    rule = (
        f'C_T below {COPYING_BELOW:g}: samples lie nearer to training images than held-out images '
        f'do; above {UNDERFITTING_ABOVE:g}: farther'
    )
    for card in _of(cards, 'copying'):
        text = f'C_T is {card.value:.1f}{_spread(card)} {_where(card)}: samples lie'
        severity: Severity = 'warning'
        if card.value < COPYING_BELOW:
            text += ' closer to the training images than held-out images do'
        elif card.value > UNDERFITTING_ABOVE:
            text += (
                ' farther from the training images than held-out images do, which is underfitting, '
                'not copying'
            )
        else:
            severity = 'good'
            text += ' as far from the training images as held-out images do'
        yield Finding('copying', severity, text, rule, {card.name: card.value})


def _compare_with_floors(cards: Sequence[MetricCard]) -> Iterator[tuple[MetricCard, Finding]]:
    """Compare FID and KID with those of training images drawn with repetition."""
    rule = (
        'a model is credited with novelty only where it is nearer to the held-out images than '
        'training images drawn with repetition are'
    )
    for card in _of(cards, 'fid', 'kid'):
        floor = next(
            (other for other in cards if _is_floor_of(other.protocol, card.protocol)), None
        )
        if floor is None:
            continue
        chance = NUM_SD * math.hypot(card.standard_deviation or 0, floor.standard_deviation or 0)
        text = (
            f'{card.protocol.metric.upper()} is {card.value:.4g}{_spread(card)} and its '
            f'memorization floor {floor.value:.4g}{_spread(floor)} {_where(card)}: '
        )
        severity: Severity
        if card.value >= floor.value:
            severity, told = 'warning', 'repeating the training images would do as well or better'
        elif card.value + chance >= floor.value:
            severity, told = 'unknown', 'below the floor, but by no more than chance moves'
        else:
            severity, told = 'good', 'better than repeating the training images'
        values = {card.name: card.value, floor.name: floor.value}
        yield card, Finding('floor', severity, text + told, rule, values)


def _is_floor_of(floor: Protocol, protocol: Protocol) -> bool:
    if floor.metric != f'{protocol.metric}_floor' or not _agree(floor, protocol):
        return False
    # FID is biased by the number of images, KID is not.
    return protocol.metric == 'kid' or floor.num_generated == protocol.num_generated


def _agree(one: Protocol, other: Protocol) -> bool:
    """Tell whether two numbers are of the same images, space and seed."""
    return _same_images(one, other) and one.space == other.space


def _same_images(one: Protocol, other: Protocol) -> bool:
    return (one.split, one.reference, one.seed) == (other.split, other.reference, other.seed)


def _find_gaps(cards: Sequence[MetricCard], history: History) -> Iterator[Finding]:
    rule = (
        f'training images score higher than held-out ones by more than {SCORE_GAP_SD:g} standard '
        f'deviation of the held-out scores, or by more and more over {NUM_VALIDATIONS} validations'
    )
    for card in _of(cards, 'disc_gap'):
        partners = _of(cards, 'disc_gap_in_sd')
        in_sd = [p.value for p in partners if _same_images(p.protocol, card.protocol)]
        recent = history[card.name].values[-NUM_VALIDATIONS:] if card.name in history else []
        grows = len(recent) == NUM_VALIDATIONS and recent[0] > 0
        grows = grows and all(a < b for a, b in itertools.pairwise(recent))
        if not in_sd and len(recent) < NUM_VALIDATIONS:
            continue
        way = 'lower' if card.value < 0 else 'higher'
        said = f'D scores training images {abs(card.value):.2f} {way} than held-out ones'
        said += f', {abs(in_sd[0]):.1f} standard deviations of the latter' if in_sd else ''
        if grows:
            said += f', and the gap has grown over the last {NUM_VALIDATIONS} validations'
        severity: Severity = 'good'
        if grows or (in_sd and in_sd[0] > SCORE_GAP_SD):
            severity, said = 'warning', f'{said}: D is learning the training images by heart'
        yield Finding('gap', severity, said, rule, {card.name: card.value})


def _find_low_recall(cards: Sequence[MetricCard]) -> Iterator[Finding]:
    rule = f'recall below {LOW_RECALL:g} while precision is above {HIGH_PRECISION:g}'
    for recall in _of(cards, 'recall'):
        partners = _of(cards, 'precision')
        partners = [p for p in partners if _agree(p.protocol, recall.protocol)]
        # k is set for each of the two; the same k is the better partner
        partners.sort(key=lambda p: p.protocol.k != recall.protocol.k)
        # of poor samples recall says nothing about the kinds that they show
        if not partners or partners[0].value <= HIGH_PRECISION:
            continue
        precision = partners[0]
        values = {recall.name: recall.value, precision.name: precision.value}
        text = (
            f'recall is {recall.value:.3f} (k = {recall.protocol.k}) and precision '
            f'{precision.value:.3f} (k = {precision.protocol.k}) {_where(recall)}'
        )
        severity: Severity = 'good'
        if recall.value < LOW_RECALL:
            severity = 'warning'
            text += ': samples are good but show few of the kinds of images there are'
        yield Finding('recall', severity, text, rule, values)


def _find_trends(history: History) -> Iterator[Finding]:
    rule = (
        f'the last {NUM_VALIDATIONS} validations are all worse than the best one, by more than '
        f'{MARGIN:.0%} of it, or by {FRACTION_MARGIN:g} for precision, recall and coverage'
    )
    for name, series in history.items():
        metric, values = series.protocol.metric, series.values
        is_fraction = metric in _FRACTIONS
        if not (is_fraction or metric in _DISTANCES) or len(values) <= NUM_VALIDATIONS:
            continue
        best = max(values) if is_fraction else min(values)
        # KID may be about 0, where a fraction of it would be less than chance
        size = max(abs(best), MARGIN * max(map(abs, values)))
        margin = FRACTION_MARGIN if is_fraction else MARGIN * size
        recent = values[-NUM_VALIDATIONS:]
        if all((best - v if is_fraction else v - best) > margin for v in recent):
            at = series.points[values.index(best)][0]
            text = (
                f'{name} was best at iteration {at} ({best:.4g}) and has been worse for '
                f'{NUM_VALIDATIONS} validations (now {recent[-1]:.4g}): more training does harm'
            )
            yield Finding('trend', 'warning', text, rule, {name: recent[-1]})


def _find_disagreement(floors: Sequence[tuple[MetricCard, Finding]]) -> Iterator[Finding]:
    """See whether the prior's own space credits the model with what another space does not."""
    rule = "features of the prior's encoder flatter a GAN that was trained on them"
    for (one, credited), (another, refused) in itertools.product(floors, floors):
        spaces = [_space(card) for card in (one, another)]
        if spaces[0] != PRIOR_SPACE or spaces[1] == PRIOR_SPACE:
            continue
        if one.protocol.metric != another.protocol.metric:
            continue
        if not _same_images(one.protocol, another.protocol):
            continue
        if credited.severity == 'good' and refused.severity == 'warning':
            text = (
                f'{one.protocol.metric.upper()} (split {one.protocol.split}) is below its floor in '
                f"the space of the prior's encoder but not in that of {spaces[1]}: trust the latter"
            )
            values = {**credited.numbers, **refused.numbers}
            yield Finding('spaces', 'warning', text, rule, values)


def _space(card: MetricCard) -> str:
    return card.protocol.space.name if card.protocol.space else ''


def _where(card: MetricCard) -> str:
    space = _space(card)
    return f'(split {card.protocol.split}{f", space {space}" if space else ""})'


def _spread(card: MetricCard) -> str:
    sd = card.standard_deviation
    return '' if sd is None else f' ± {sd:.2g}'
