"""Metric cards: every number with the protocol that it was measured by."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from disp_plugin.files import write_file

__all__ = [
    'CARDS_FILE',
    'ImageSet',
    'MetricCard',
    'Protocol',
    'Snapshot',
    'Space',
    'choose_headline',
    'format_cards',
    'format_count',
    'merge_cards',
    'read_cards',
    'write_cards',
]

CARDS_FILE = 'metric_cards.json'
VERSION = 2


Better = Literal['lower', 'higher', 'zero', '']

BETTER: dict[str, Better] = {
    'fid': 'lower',
    'fid_floor': '',
    'kid': 'lower',
    'kid_floor': '',
    'copying': 'zero',
    'precision': 'higher',
    'recall': 'higher',
    'density': 'higher',
    'coverage': 'higher',
    'disc_gap': 'zero',
    'disc_gap_in_sd': 'zero',
    'ivom': 'lower',
    'fid_inverted': 'lower',
}
"""Metric -> which of its values are better; what to look at first stands first."""

LEAST_FOR_FID = 2048
"""As many images as Inception has features: with fewer, covariances have no full rank, and FID's
bias, which depends on the count, outgrows differences between models (Binkowski et al. 2018)."""


@dataclass(frozen=True)
class ImageSet:
    """Real images that a number rests on.

    Args:
        split (str): Their name, such as 'test'.
        num (int): Images.
        data_root (str): Their folder. Defaults to ''.
        flips (bool): Whether mirrored views are used, too. Defaults to False.
        fingerprint (str): Hash of the images. Defaults to ''.
    """

    split: str
    num: int
    data_root: str = ''
    flips: bool = False
    fingerprint: str = ''


@dataclass(frozen=True)
class Space:
    """The space of features that a number was measured in.

    Args:
        name (str): Such as 'clean'.
        encoder (str): Architecture and layer. Defaults to ''.
        preprocessing (str): What the encoder does to images first. Defaults to ''.
        fingerprint (str): Hash of the encoder. Defaults to ''.
    """

    name: str
    encoder: str = ''
    preprocessing: str = ''
    fingerprint: str = ''


@dataclass(frozen=True)
class Snapshot:
    """What was measured: a snapshot of a run, or a folder of images.

    Args:
        iteration (int | None): Iterations of training. Defaults to None, unknown.
        file (str): The checkpoint, or the folder. Defaults to ''.
        run (str): Name of the run's folder. Defaults to ''.
    """

    iteration: int | None = None
    file: str = ''
    run: str = ''


@dataclass(frozen=True)
class Protocol:
    """How a number was measured.

    Args:
        metric (str): One of :data:`BETTER`.
        split (str): Name of the held-out split.
        num_generated (int): Generated images. Defaults to 0: none were needed.
        k (int | None): Which nearest neighbor. Defaults to None.
        space (Space | None): Where features come from. Defaults to None.
        reference (ImageSet | None): The held-out images. Defaults to None.
        train (ImageSet | None): The training images. Defaults to None: not used.
        seed (int): Of the samples. Defaults to 0.
        sample_model (str | None): 'ema' or 'orig'. Defaults to None: no GAN was sampled.
        truncation (float | None): As in ``tools/sample.py``. Defaults to None.
        parameters (dict[str, float]): Of the metric, such as the number of cells. Defaults to {}.

    Raises:
        ValueError: The metric is unknown.
    """

    metric: str
    split: str
    num_generated: int = 0
    k: int | None = None
    space: Space | None = None
    reference: ImageSet | None = None
    train: ImageSet | None = None
    seed: int = 0
    sample_model: str | None = None
    truncation: float | None = None
    parameters: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.metric not in BETTER:
            raise ValueError(f'metric {self.metric!r} is unknown; known are {", ".join(BETTER)}')

    @property
    def name(self) -> str:
        """str: The protocol in short, such as 'precision10k_k10_test_clean'."""
        count = format_count(self.num_generated) if self.num_generated else ''
        has_k = self.k is not None and self.metric in ('precision', 'recall')
        parts = [f'{self.metric}{count}', *([f'k{self.k}'] if has_k else []), _spell(self.split)]
        return '_'.join(parts + ([_spell(self.space.name)] if self.space else []))

    @property
    def rank(self) -> int:
        """int: Place in a list of numbers: what to look at first is first."""
        return list(BETTER).index(self.metric)

    @property
    def better(self) -> Better:
        """str: Which values are better: 'lower', 'higher', those near 'zero', or ''."""
        return BETTER[self.metric]


@dataclass(frozen=True)
class MetricCard:
    """A number with its protocol.

    Args:
        protocol (Protocol): How it was measured.
        value (float): The number.
        standard_deviation (float | None): How far chance moves it. Defaults to None, unknown.
        details (dict[str, float | list[float]]): Other results beside it. Defaults to {}.
        snapshot (Snapshot): What was measured. Defaults to an unknown one.

    Raises:
        ValueError: The number is not finite.
    """

    protocol: Protocol
    value: float
    standard_deviation: float | None = None
    details: dict[str, float | list[float]] = field(default_factory=dict)
    snapshot: Snapshot = field(default_factory=Snapshot)

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(
                f'{self.protocol.metric} is {self.value}: the features are damaged or overflow'
            )

    @property
    def name(self) -> str:
        """str: Name of the protocol."""
        return self.protocol.name

    def of(self, snapshot: Snapshot) -> MetricCard:
        """Copy the card for a snapshot."""
        return dataclasses.replace(self, snapshot=snapshot)


def format_count(num: int) -> str:
    """Write a count as names of metrics do: '10k', but '1000' and '12345'."""
    return f'{num // 1000}k' if num >= 10000 and num % 1000 == 0 else str(num)


def _spell(name: str) -> str:
    """Write the name of a split or space without what separates the parts of a name."""
    return re.sub(r'[^A-Za-z0-9.-]+', '-', name)


def read_cards(file: str | Path) -> list[MetricCard]:
    """Read what :func:`write_cards` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a file of cards, or one of another version.
    """
    try:
        content = json.loads(Path(file).read_text(encoding='utf-8'))
        if content['version'] == VERSION:
            for card in content['cards']:
                card.pop('name')
            return _parse(list[MetricCard], content['cards'])
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(
            f'{file} does not hold metric cards ({type(error).__name__}: {error}); move it away, '
            'and evaluate again'
        ) from error
    raise ValueError(
        f'{file} holds metric cards of version {content["version"]}, but this disp_plugin reads '
        f'version {VERSION}; use the one that wrote it, or move it away and evaluate again'
    )


def _parse(kind: Any, value: Any) -> Any:
    """Turn JSON into a type made of dataclasses, lists, dicts, unions and plain values."""
    origin, args = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        hints = get_type_hints(kind)
        return kind(**{name: _parse(hints[name], part) for name, part in value.items()})  # type: ignore[operator]
    if origin is types.UnionType:
        matching = next((arg for arg in args if _fits(arg, value)), args[0])
        return _parse(matching, value)
    if origin is list and isinstance(value, list):
        return [_parse(args[0], part) for part in value]
    if origin is dict and isinstance(value, dict):
        return {name: _parse(args[1], part) for name, part in value.items()}
    if _fits(kind, value):
        return float(value) if kind is float else value
    raise ValueError(f'{value!r:.80} is no {getattr(kind, "__name__", kind)}')


def _fits(kind: object, value: object) -> bool:
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if dataclasses.is_dataclass(kind):
        return isinstance(value, dict)
    return type(value) is (get_origin(kind) or kind)


def merge_cards(old: Iterable[MetricCard], new: Iterable[MetricCard]) -> list[MetricCard]:
    """Add cards; one of the same protocol and snapshot replaces the old one.

    Returns:
        list[MetricCard]: All, by iteration and name.
    """
    merged = {_identify(card): card for card in (*old, *new)}

    def place(card: MetricCard) -> tuple[int, str]:
        iteration = card.snapshot.iteration
        return -1 if iteration is None else iteration, card.name

    return sorted(merged.values(), key=place)


def _identify(card: MetricCard) -> str:
    """Hash what tells a measurement from others: fingerprints, not names of folders."""
    protocol, snapshot = card.protocol, card.snapshot
    sources = (protocol.reference, protocol.train, protocol.space)
    where = [source and source.fingerprint for source in sources]
    taken_at = snapshot.file if snapshot.iteration is None else snapshot.iteration
    drawn = [protocol.seed, protocol.sample_model, protocol.truncation, protocol.k]
    told = [card.name, *drawn, protocol.parameters, *where, snapshot.run, taken_at]
    return json.dumps(told, sort_keys=True)


def write_cards(file: str | Path, cards: Sequence[MetricCard]) -> None:
    """Add cards to a file. It is written whole or not at all, and keeps the cards it holds.

    Raises:
        ValueError: There is a file that holds no cards.
    """
    old = read_cards(file) if Path(file).is_file() else []
    # the name is for readers of the file
    merged = [{'name': c.name, **dataclasses.asdict(c)} for c in merge_cards(old, cards)]
    content = {'version': VERSION, 'cards': merged}
    write_file(file, json.dumps(content, indent=1, allow_nan=False) + '\n')


def choose_headline(cards: Iterable[MetricCard]) -> MetricCard | None:
    """Choose the number to look at first: FID, but KID where there are too few images for it.

    Args:
        cards (Iterable[MetricCard]): Cards of one snapshot.

    Returns:
        MetricCard | None: None where neither was measured.
    """
    found: dict[str, MetricCard] = {}
    for card in cards:
        found.setdefault(card.protocol.metric, card)
    fid, kid = found.get('fid'), found.get('kid')
    if fid is not None and kid is not None and fid.protocol.reference is not None:
        protocol = fid.protocol
        if min(protocol.num_generated, fid.protocol.reference.num) < LEAST_FOR_FID:
            return kid
    return fid or kid


def format_cards(cards: Sequence[MetricCard]) -> str:
    """Lay cards out as a table: a line for each, with name, value and standard deviation."""
    width = max((len(card.name) for card in cards), default=0)
    lines = []
    for card in cards:
        spread = card.standard_deviation
        tail = '' if spread is None else f' +- {spread:.3g}'
        lines.append(f'{card.name:<{width}}  {card.value:.5g}{tail}')
    return '\n'.join(lines)
