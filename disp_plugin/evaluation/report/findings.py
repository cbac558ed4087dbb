"""Rules that read a run's numbers, what each finds in plain words, and the verdict."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from ..metric_card import TRAIN_SPLIT, MetricCard, Protocol

__all__ = ['Finding', 'History', 'Series', 'Severity', 'Verdict', 'find_signs', 'judge_run']

# C_T is a z-score (Meehan et al. 2020, arXiv 2004.05675), whose sign is the paper's (DISP, arXiv
# 2012.04256, Table 6). How far is far was chosen here, as were all numbers below.
COPYING_BELOW, UNDERFITTING_ABOVE = -3.0, 3.0
SCORE_GAP_SD = 1.0  # standard deviations of the held-out scores
NUM_SD = 2.0  # combined standard deviations that tell a number from its floor
LOW_RECALL, HIGH_PRECISION = 0.05, 0.5  # the paper's few-shot rows have recalls of 0.00 to 0.22
NUM_VALIDATIONS = 3  # in a row, which make a trend
MARGIN = 0.1  # how much worse than its best a distance must be, as a fraction of it
FRACTION_MARGIN = 0.05  # the same for numbers between 0 and 1, in their own units
PRIOR_SPACE = 'prior'  # name of the space of the prior's own encoder

_DISTANCES = ('fid', 'kid', 'fid_inverted', 'ivom')
_FRACTIONS = ('precision', 'recall', 'coverage')

Severity = Literal['good', 'warning', 'unknown']


class Series(NamedTuple):
    """One number over the course of a run: iterations and values in order, all finite."""

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
        severity (Severity): How it is to be read.
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
    """What a run's numbers say about memorization, and all that was found, warnings first."""

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
    """
    at = f', measured {measured}' if measured else ''
    findings = find_signs(cards, history)
    copying = [card.value for card in _of(cards, 'copying')]
    if any(value < COPYING_BELOW for value in copying):
        return Verdict('warning', f'Signs of copying{at}: see C_T below.', findings)
    floors = {f.severity for f in findings if f.subject == 'floor'}
    cleared = 'good' in floors and 'warning' not in floors
    if copying or cleared:
        tests = ['the data-copying test'] * bool(copying) + ['the memorization floor'] * cleared
        sentence = f'No sign of copying, by {" and ".join(tests)}'
        if copying and all(value > UNDERFITTING_ABOVE for value in copying):
            sentence += ', in a model that underfits'
        return Verdict('good', f'{sentence}{at}.', findings)
    missing = (
        'neither the data-copying test (C_T) nor a number below its memorization floor is there'
    )
    if {card.protocol.split for card in cards} <= {TRAIN_SPLIT}:
        missing = 'no held-out images were given'
    return Verdict('unknown', f'Cannot tell: {missing}.', findings)


def find_signs(cards: Sequence[MetricCard], history: History | None = None) -> list[Finding]:
    """Apply all rules to a run's cards and, for trends, its validations; warnings come first.

    A rule without its numbers finds nothing.
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
    return sorted(found, key=lambda finding: ('warning', 'unknown', 'good').index(finding.severity))


def _of(cards: Iterable[MetricCard], *metrics: str) -> list[MetricCard]:
    return [card for card in cards if card.protocol.metric in metrics]


def _find_copying(cards: Sequence[MetricCard]) -> Iterator[Finding]:
    rule = (
        f'C_T below {COPYING_BELOW:g}: samples lie nearer to training images than held-out images '
        f'do; above {UNDERFITTING_ABOVE:g}: farther'
    )
    for card in _of(cards, 'copying'):
        severity: Severity = 'warning'
        if card.value < COPYING_BELOW:
            told = 'closer to the training images than held-out images do'
        elif card.value > UNDERFITTING_ABOVE:
            told = (
                'farther from the training images than held-out images do, which is underfitting, '
                'not copying'
            )
        else:
            severity, told = 'good', 'as far from the training images as held-out images do'
        text = f'C_T is {card.value:.1f}{card.spread} {_where(card)}: samples lie {told}'
        yield Finding('copying', severity, text, rule, {card.name: card.value})


def _compare_with_floors(cards: Sequence[MetricCard]) -> Iterator[tuple[MetricCard, Finding]]:
    """Compare FID and KID with those of training images drawn with repetition."""
    rule = (
        'a model is credited with novelty only where it is nearer to the held-out images than '
        'training images drawn with repetition are'
    )
    for card in _of(cards, 'fid', 'kid'):
        metric, protocol = card.protocol.metric, card.protocol
        floors = [f for f in _of(cards, f'{metric}_floor') if _agree(f.protocol, protocol)]
        if metric == 'fid':  # which the number of images biases, unlike KID
            floors = [f for f in floors if f.protocol.num_generated == protocol.num_generated]
        if not floors:
            continue
        floor = floors[0]
        chance = NUM_SD * math.hypot(card.standard_deviation or 0, floor.standard_deviation or 0)
        severity: Severity
        if card.value >= floor.value:
            severity, told = 'warning', 'repeating the training images would do as well or better'
        elif card.value + chance >= floor.value:
            severity, told = 'unknown', 'below the floor, but by no more than chance moves'
        else:
            severity, told = 'good', 'better than repeating the training images'
        text = (
            f'{metric.upper()} is {card.value:.4g}{card.spread} and its memorization floor '
            f'{floor.value:.4g}{floor.spread} {_where(card)}: {told}'
        )
        values = {card.name: card.value, floor.name: floor.value}
        yield card, Finding('floor', severity, text, rule, values)


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
        is_long = len(recent) == NUM_VALIDATIONS
        if not (in_sd or is_long):
            continue
        grows = is_long and recent[0] > 0 and all(a < b for a, b in itertools.pairwise(recent))
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
    cards = [card for card in cards if not card.protocol.caveat]
    for recall in _of(cards, 'recall'):
        k = recall.protocol.k
        partners = [p for p in _of(cards, 'precision') if _agree(p.protocol, recall.protocol)]
        # k is set for each of the two; the same k is the better partner
        precision = min(partners, key=lambda p: p.protocol.k != k, default=None)
        # of poor samples recall says nothing about the kinds that they show
        if precision is None or precision.value <= HIGH_PRECISION:
            continue
        values = {recall.name: recall.value, precision.name: precision.value}
        text = (
            f'recall is {recall.value:.3f} (k = {k}) and precision {precision.value:.3f} '
            f'(k = {precision.protocol.k}) {_where(recall)}'
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
        if all(abs(value - best) > margin for value in recent):
            at = series.points[values.index(best)][0]
            text = (
                f'{name} was best at iteration {at} ({best:.4g}) and has been worse for '
                f'{NUM_VALIDATIONS} validations (now {recent[-1]:.4g}): more training does harm'
            )
            yield Finding('trend', 'warning', text, rule, {name: recent[-1]})


def _find_disagreement(floors: Sequence[tuple[MetricCard, Finding]]) -> Iterator[Finding]:
    """See whether a space that the GAN knows credits it with what another space does not."""
    rule = "features of the prior's encoder, or of D's network, flatter a GAN trained on them"
    for (one, credited), (another, refused) in itertools.product(floors, floors):
        mine, other = one.protocol, another.protocol
        if not _is_flattered(mine) or _is_flattered(other):
            continue
        if mine.metric != other.metric or not _same_images(mine, other):
            continue
        if credited.severity == 'good' and refused.severity == 'warning':
            text = (
                f'{mine.metric.upper()} (split {mine.split}) is below its floor in the space of '
                f'{_name_space(mine)} but not in that of {other.space_name}: trust the latter'
            )
            yield Finding('spaces', 'warning', text, rule, credited.numbers | refused.numbers)


def _is_flattered(protocol: Protocol) -> bool:
    return protocol.space_name == PRIOR_SPACE or bool(protocol.flattery)


def _name_space(protocol: Protocol) -> str:
    return "the prior's encoder" if protocol.space_name == PRIOR_SPACE else "D's network"


def _where(card: MetricCard) -> str:
    space = card.protocol.space_name
    return f'(split {card.protocol.split}{f", space {space}" if space else ""})'
