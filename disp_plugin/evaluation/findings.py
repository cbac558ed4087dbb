"""Rules that read a run's numbers, and what each of them finds, in plain words."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from .metric_name import MetricName

__all__ = [
    'COPYING_BELOW',
    'UNDERFITTING_ABOVE',
    'Finding',
    'History',
    'Number',
    'Severity',
    'as_float',
    'find_signs',
    'read_numbers',
]

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
"""How much worse than its best a distance must be, as a share of it; chosen here."""
SHARE_MARGIN = 0.05
"""The same for numbers between 0 and 1, in their own units; chosen here."""
PRIOR_SPACE = 'prior'
"""Name of the space of the prior's own encoder."""

_LOWER = ('fid', 'kid', 'fid_inverted', 'ivom')
_SHARES = ('precision', 'recall', 'coverage')

Severity = Literal['good', 'warning', 'unknown']

History = Sequence[tuple[int, Mapping[str, float]]]
"""Validations of a run in order: iteration, and value by metric's name."""


class Finding(NamedTuple):
    """What one rule found.

    Attributes:
        subject (str): The rule: 'copying', 'floor', 'gap', 'recall', 'trend' or 'spaces'.
        severity (str): 'good', 'warning' or 'unknown'.
        text (str): The finding in plain words, with its numbers.
        rule (str): What was compared with what.
        numbers (dict[str, float]): The numbers that it rests on, by their names.
    """

    subject: str
    severity: Severity
    text: str
    rule: str
    numbers: dict[str, float]


class Number(NamedTuple):
    """One number of a run.

    Attributes:
        label (str): Its whole name.
        name (MetricName): The name's parts.
        value (float): The value, finite or not.
        sd (float | None): Its standard deviation.
        details (Mapping[str, Any]): What else its card says.
        origin (Mapping[str, Any]): What tells its measurement from others of the same name, as far
            as it is known: fingerprints of the 'reference' images and of the 'space', and the
            'seed'. A scalar of a log has none.
    """

    label: str
    name: MetricName
    value: float
    sd: float | None
    details: Mapping[str, Any]
    origin: Mapping[str, Any]


def read_numbers(cards: Iterable[Mapping[str, Any]]) -> list[Number]:
    """Take the numbers that rules can read out of metric cards.

    Args:
        cards (Iterable[Mapping[str, Any]]): Metric cards. Of a card only ``name`` and ``value`` are
            needed, so that scalars of a log can be given in the same form.

    Returns:
        list[Number]: One for each card whose name is a metric's.
    """
    numbers = []
    for card in cards:
        name = MetricName.parse(str(card.get('name')))
        value = as_float(card.get('value'))
        if name is None or value is None:
            continue
        details = card.get('details')
        details = details if isinstance(details, Mapping) else {}
        sd = as_float(card.get('standard_deviation'))
        numbers.append(Number(str(card['name']), name, value, sd, details, _find_origin(card)))
    return numbers


def _find_origin(card: Mapping[str, Any]) -> dict[str, Any]:
    origin = {'seed': card.get('seed')}
    for key in ('reference', 'space'):
        part = card.get(key)
        origin[key] = part.get('fingerprint') if isinstance(part, Mapping) else None
    return {key: value for key, value in origin.items() if value is not None}


def _agree(
    one: Number, other: Number, keys: Iterable[str] = ('reference', 'space', 'seed')
) -> bool:
    """See whether two numbers are of the same images, space and seed where both say so."""
    known = [key for key in keys if key in one.origin and key in other.origin]
    return all(one.origin[key] == other.origin[key] for key in known)


def find_signs(cards: Iterable[Mapping[str, Any]], history: History = ()) -> list[Finding]:
    """Read all rules against the numbers of a run. A rule without its numbers finds nothing.

    Args:
        cards (Iterable[Mapping[str, Any]]): Metric cards, or scalars as cards of name and value.
        history (History): Validations in order, for trends. Defaults to (), none.

    Returns:
        list[Finding]: What was found, warnings first.
    """
    numbers = read_numbers(cards)
    floors = _find_floors(numbers)
    found = [
        *_find_copying(numbers),
        *(finding for _, finding in floors),
        *_find_gaps(numbers, history),
        *_find_low_recall(numbers),
        *_find_trends(history),
        *_find_disagreement(floors),
    ]
    order = {'warning': 0, 'unknown': 1, 'good': 2}
    return sorted(found, key=lambda finding: order[finding.severity])


def _find_copying(numbers: list[Number]) -> Iterable[Finding]:
    rule = (
        f'C_T below {COPYING_BELOW:g}: samples lie nearer to training images than held-out images '
        f'do; above {UNDERFITTING_ABOVE:g}: farther'
    )
    for number in (n for n in numbers if n.name.metric == 'copying'):
        said = f'C_T is {number.value:.1f}{_spread(number.sd)} {_where(number.name)}'
        severity: Severity
        if not math.isfinite(number.value):
            severity, text = 'unknown', f'{said}, which says nothing'
        elif number.value < COPYING_BELOW:
            severity = 'warning'
            text = f'{said}: samples lie closer to the training images than held-out images do'
        elif number.value > UNDERFITTING_ABOVE:
            severity = 'warning'
            text = (
                f'{said}: samples lie farther from the training images than held-out images do, '
                'which is underfitting, not copying'
            )
        else:
            severity = 'good'
            text = f'{said}: samples lie as far from the training images as held-out images do'
        yield Finding('copying', severity, text, rule, {number.label: number.value})


def _find_floors(numbers: list[Number]) -> list[tuple[Number, Finding]]:
    """Compare FID and KID with those of training images drawn with repetition."""
    rule = (
        'a model is credited with novelty only where it is nearer to the held-out images than '
        'training images drawn with repetition are'
    )
    found = []
    for number in (n for n in numbers if n.name.metric in ('fid', 'kid')):
        floor = next((n for n in numbers if _is_floor_of(n, number)), None)
        if floor is None:
            continue
        chance = NUM_SD * math.hypot(number.sd or 0.0, floor.sd or 0.0)
        what = (
            f'{number.name.metric.upper()} is {_short(number.value)}{_spread(number.sd)} and its '
            f'memorization floor {_short(floor.value)}{_spread(floor.sd)} {_where(number.name)}'
        )
        severity: Severity
        if not (math.isfinite(number.value) and math.isfinite(floor.value)):
            severity, text = 'unknown', f'{what}, which says nothing'
        elif number.value >= floor.value:
            severity = 'warning'
            text = f'{what}: repeating the training images would do as well or better'
        elif number.value + chance >= floor.value:
            severity, text = 'unknown', f'{what}: below the floor, but by no more than chance moves'
        else:
            severity, text = 'good', f'{what}: better than repeating the training images'
        values = {number.label: number.value, floor.label: floor.value}
        found.append((number, Finding('floor', severity, text, rule, values)))
    return found


def _is_floor_of(candidate: Number, number: Number) -> bool:
    floor, name = candidate.name, number.name
    if floor.metric != f'{name.metric}_floor' or not _agree(candidate, number):
        return False
    # FID is biased by the number of images, KID is not.
    same_count = name.metric == 'kid' or floor.count == name.count
    return same_count and (floor.split, floor.space) == (name.split, name.space)


def _find_gaps(numbers: list[Number], history: History) -> Iterable[Finding]:
    rule = (
        f'training images score higher than held-out ones by more than {SCORE_GAP_SD:g} standard '
        f'deviation of the held-out scores, or by more and more over {NUM_VALIDATIONS} validations'
    )
    in_sd = {n.name.split: n.value for n in numbers if n.name.metric == 'disc_gap_in_sd'}
    for number in (n for n in numbers if n.name.metric == 'disc_gap'):
        gap = as_float(number.details.get('gap_in_sd', in_sd.get(number.name.split)))
        recent = _recent(history, number.label)
        grows = len(recent) == NUM_VALIDATIONS and recent[0] > 0 and _is_rising(recent)
        if gap is None and len(recent) < NUM_VALIDATIONS:
            continue
        way = 'lower' if number.value < 0 else 'higher'
        said = f'D scores training images {abs(number.value):.2f} {way} than held-out ones'
        said += '' if gap is None else f', {abs(gap):.1f} standard deviations of the latter'
        if grows:
            said += f', and the gap has grown over the last {NUM_VALIDATIONS} validations'
        severity: Severity
        if not math.isfinite(number.value):
            severity = 'unknown'
        elif grows or (gap is not None and gap > SCORE_GAP_SD):
            severity, said = 'warning', f'{said}: D is learning the training images by heart'
        else:
            severity = 'good'
        yield Finding('gap', severity, said, rule, {number.label: number.value})


def _find_low_recall(numbers: list[Number]) -> Iterable[Finding]:
    rule = f'recall below {LOW_RECALL:g} while precision is above {HIGH_PRECISION:g}'
    for recall in (n for n in numbers if n.name.metric == 'recall'):
        partners = [n for n in numbers if n.name.metric == 'precision' and _pairs(n, recall)]
        if not partners:
            continue
        # k is set for each of the two; the same k is the better partner
        precision = min(partners, key=lambda n: n.name.k != recall.name.k)
        values = {recall.label: recall.value, precision.label: precision.value}
        said = (
            f'recall is {recall.value:.3f}{_with_k(recall.name)} and precision '
            f'{precision.value:.3f}{_with_k(precision.name)} {_where(recall.name)}'
        )
        if not precision.value > HIGH_PRECISION:
            continue  # samples are poor: recall then says nothing of the kinds that they show
        if recall.value < LOW_RECALL:
            text = f'{said}: samples are good but show few of the kinds of images there are'
            yield Finding('recall', 'warning', text, rule, values)
        elif recall.value >= LOW_RECALL:
            yield Finding('recall', 'good', said, rule, values)


def _pairs(one: Number, other: Number) -> bool:
    is_same = (one.name.split, one.name.space) == (other.name.split, other.name.space)
    return is_same and _agree(one, other)


def _find_trends(history: History) -> Iterable[Finding]:
    rule = (
        f'the last {NUM_VALIDATIONS} validations are all worse than the best one, by more than '
        f'{MARGIN:.0%} of it, or by {SHARE_MARGIN:g} for precision, recall and coverage'
    )
    for label in dict.fromkeys(label for _, metrics in history for label in metrics):
        name = MetricName.parse(label)
        if name is None or name.metric not in (*_LOWER, *_SHARES):
            continue
        pairs = [(i, m[label]) for i, m in history if label in m and math.isfinite(m[label])]
        if len(pairs) <= NUM_VALIDATIONS:
            continue
        is_share = name.metric in _SHARES
        choose = max if is_share else min
        at, best = choose(pairs, key=lambda pair: pair[1])
        # KID may be about 0, where a share of it would be less than chance
        size = max(abs(best), MARGIN * max(abs(value) for _, value in pairs))
        margin = SHARE_MARGIN if is_share else MARGIN * size
        recent = [value for _, value in pairs[-NUM_VALIDATIONS:]]
        if all((best - v if is_share else v - best) > margin for v in recent):
            text = (
                f'{label} was best at iteration {at} ({_short(best)}) and has been worse for '
                f'{NUM_VALIDATIONS} validations (now {_short(recent[-1])}): more training does harm'
            )
            yield Finding('trend', 'warning', text, rule, {label: recent[-1]})


def _find_disagreement(floors: list[tuple[Number, Finding]]) -> Iterable[Finding]:
    """See whether the prior's own space credits the model with what another space does not."""
    rule = "features of the prior's encoder flatter a GAN that was trained on them"
    for (one, credited), (another, refused) in itertools.product(floors, floors):
        name, other = one.name, another.name
        is_pair = name.space == PRIOR_SPACE and other.space != PRIOR_SPACE
        if not is_pair or (name.metric, name.split) != (other.metric, other.split):
            continue
        if not _agree(one, another, ('reference', 'seed')):
            continue
        if credited.severity == 'good' and refused.severity == 'warning':
            text = (
                f'{name.metric.upper()} (split {name.split}) is below its floor in the space of '
                f"the prior's encoder but not in that of {other.space}: trust the latter"
            )
            values = {**credited.numbers, **refused.numbers}
            yield Finding('spaces', 'warning', text, rule, values)


def _recent(history: History, label: str) -> list[float]:
    return [metrics[label] for _, metrics in history if label in metrics][-NUM_VALIDATIONS:]


def _is_rising(values: list[float]) -> bool:
    return all(a < b for a, b in itertools.pairwise(values))


def _where(name: MetricName) -> str:
    space = f', space {name.space}' if name.space else ''
    return f'(split {name.split}{space})'


def _with_k(name: MetricName) -> str:
    return '' if name.k is None else f' (k = {name.k})'


def _spread(sd: float | None) -> str:
    return '' if sd is None else f' ± {sd:.2g}'


def _short(value: float) -> str:
    return f'{value:.4g}' if math.isfinite(value) else str(value)


def as_float(value: Any) -> float | None:
    """Take a number out of a file that may hold anything.

    Args:
        value (Any): What came.

    Returns:
        float | None: The number, finite or not; None for what is no number.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
