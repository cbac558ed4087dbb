"""Metric cards: every number with the protocol that it was measured by."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args, get_origin, get_type_hints

from disp_plugin.files import write_file

__all__ = [
    'CARDS_FILE',
    'TRAIN_SPLIT',
    'ImageSet',
    'MetricCard',
    'Protocol',
    'Snapshot',
    'Space',
    'choose_headline',
    'format_cards',
    'merge_cards',
    'read_cards',
    'read_start',
    'write_cards',
]

CARDS_FILE = 'metric_cards.json'
VERSION = 3

_LOWER, _HIGHER, _ZERO = ('lower is better', 'higher is better', 'nearer to zero is better')
BETTER = {
    **{'fid': _LOWER, 'fid_floor': '', 'kid': _LOWER, 'kid_floor': '', 'copying': _ZERO},
    **dict.fromkeys(('precision', 'recall', 'density', 'coverage'), _HIGHER),
    **{'disc_gap': _ZERO, 'disc_gap_in_sd': _ZERO, 'ivom': _LOWER, 'fid_inverted': _LOWER},
}
"""Metric -> which of its values are better; what to look at first stands first."""

TRAIN_SPLIT = 'train'
"""Numbers against the training images, which a copying model does best by: nothing is chosen or
judged by them."""

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
        is_seen_by_d (bool): Whether the GAN's discriminator sees by a network of the encoder's
            family. Defaults to False.
    """

    name: str
    encoder: str = ''
    preprocessing: str = ''
    fingerprint: str = ''
    is_seen_by_d: bool = False


@dataclass(frozen=True)
class Snapshot:
    """What was measured: a snapshot of a run, or a folder of images.

    Args:
        iteration (int | None): Iterations of training. Defaults to None, unknown.
        file (str): The checkpoint, or the folder. Defaults to ''.
        run (str): Name of the run's folder. Defaults to ''.
        start (str): When the run was first started, of :func:`read_start`. Defaults to ''.
    """

    iteration: int | None = None
    file: str = ''
    run: str = ''
    start: str = ''


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
        num = self.num_generated
        count = f'{num // 1000}k' if num >= 5000 and num % 1000 == 0 else str(num or '')
        has_k = self.k is not None and self.metric in ('precision', 'recall')
        parts = (f'k{self.k}' if has_k else '', _spell(self.split), _spell(self.space_name))
        return '_'.join([f'{self.metric}{count}', *filter(None, parts)])

    @property
    def caveat(self) -> str:
        """str: Why the number can hardly be otherwise, whatever is measured; '' where it can."""
        if self.metric not in ('precision', 'recall', 'density', 'coverage') or self.k is None:
            return ''
        num = self.reference.num if self.reference else 0
        if self.metric == 'recall':
            num = self.num_generated
        if not num or 2 * self.k < num - 1:
            return ''
        return f'says nothing: with k = {self.k} of {num} images, a ball holds half of them or more'

    @property
    def flattery(self) -> str:
        """str: Why the number is better than the images are; '' where nothing tells."""
        if not (self.space and self.space.is_seen_by_d):
            return ''
        return 'flatters: D was trained on features of a network of this family'

    @property
    def notes(self) -> list[str]:
        """list[str]: What stands beside the number wherever it is shown."""
        return [*filter(None, [self.caveat, self.flattery])]

    @property
    def rank(self) -> int:
        """int: Place in a list of numbers: what to look at first is first."""
        return list(BETTER).index(self.metric)

    @property
    def better(self) -> str:
        """str: Which values are better, in words; '' of a number that others are compared with."""
        return BETTER[self.metric]

    @property
    def space_name(self) -> str:
        """str: Name of the space; '' without one."""
        return self.space.name if self.space else ''


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

    @property
    def spread(self) -> str:
        """str: The standard deviation as it stands behind the number; '' where unknown."""
        sd = self.standard_deviation
        return '' if sd is None else f' ± {sd:.2g}'

    def of(self, snapshot: Snapshot) -> MetricCard:
        """Copy the card for a snapshot."""
        return dataclasses.replace(self, snapshot=snapshot)


def read_start(checkpoint: Mapping[str, Any]) -> str:
    """Read when a checkpoint's run was first started: the name of its first log folder.

    mmengine ends a run's name with it and keeps that name over every resume, so it tells two runs
    in one folder from each other.

    Args:
        checkpoint (Mapping[str, Any]): What was read of the file.

    Returns:
        str: Such as '20260131_235959'; '' where the file does not say.
    """
    info = checkpoint
    for name in ('message_hub', 'runtime_info'):
        part = info.get(name)
        info = part if isinstance(part, Mapping) else {}
    match = re.search(r'\d{8}_\d{6}$', str(info.get('experiment_name')))
    return match.group() if match else ''


def _spell(name: str) -> str:
    """Write the name of a split or space without what separates the parts of a name."""
    return re.sub(r'[^A-Za-z0-9.-]+', '-', name)


def read_cards(file: str | Path) -> list[MetricCard]:
    """Read what :func:`write_cards` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a file of cards, one of another version, or was altered.
    """
    try:
        content = json.loads(Path(file).read_text(encoding='utf-8'))
        if content['version'] == VERSION:
            if content['crc32'] != _compute_crc(content['cards']):
                raise ValueError('it was altered: its checksum differs')
            for card in content['cards']:
                card.pop('name')
            return cast('list[MetricCard]', _parse(list[MetricCard], content['cards']))
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(
            f'{file} does not hold metric cards ({type(error).__name__}: {error}); move it away, '
            'and evaluate again'
        ) from error
    raise ValueError(
        f'{file} holds metric cards of version {content["version"]}, but this disp_plugin reads '
        f'version {VERSION}; use the one that wrote it, or move it away and evaluate again'
    )


def _compute_crc(cards: object) -> str:
    return f'{zlib.crc32(json.dumps(cards, sort_keys=True).encode()):08x}'


def _parse(kind: object, value: object) -> object:
    """Turn JSON into a type made of dataclasses, lists, dicts, unions and plain values."""
    args = get_args(kind)
    if isinstance(kind, types.UnionType):
        return _parse(next((arg for arg in args if _fits(arg, value)), args[0]), value)
    if not _fits(kind, value):
        raise ValueError(f'{value!r:.80} is no {getattr(kind, "__name__", kind)}')
    if isinstance(value, list):
        return [_parse(args[0], part) for part in value]
    if isinstance(value, dict):
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            hints = get_type_hints(kind)
            return kind(**{name: _parse(hints[name], part) for name, part in value.items()})
        return {name: _parse(args[1], part) for name, part in value.items()}
    return float(cast(float, value)) if kind is float else value


def _fits(kind: object, value: object) -> bool:
    if kind is float:
        return type(value) in (int, float)
    return type(value) is (dict if dataclasses.is_dataclass(kind) else get_origin(kind) or kind)


def merge_cards(old: Iterable[MetricCard], new: Iterable[MetricCard]) -> list[MetricCard]:
    """Add cards; one of the same protocol and snapshot replaces the old one.

    Returns:
        list[MetricCard]: All, by iteration and name.
    """
    merged = {_identify(card): card for card in (*old, *new)}
    placed = [(c.snapshot.iteration, c.name, c) for c in merged.values()]
    placed.sort(key=lambda item: (-1 if item[0] is None else item[0], item[1]))
    return [card for *_, card in placed]


def _identify(card: MetricCard) -> str:
    """Write what tells a measurement from others: fingerprints, not names of folders."""
    protocol, snapshot = card.protocol, card.snapshot
    sources = (protocol.reference, protocol.train, protocol.space)
    where = [source and source.fingerprint for source in sources]
    taken_at = snapshot.file if snapshot.iteration is None else snapshot.iteration
    drawn = [protocol.seed, protocol.sample_model, protocol.truncation, protocol.k]
    # 2 is read back as 2.0
    parameters = {name: float(value) for name, value in protocol.parameters.items()}
    told = [card.name, *drawn, parameters, *where]
    told += [snapshot.run, snapshot.start, taken_at]
    return json.dumps(told, sort_keys=True)


def write_cards(file: str | Path, cards: Sequence[MetricCard]) -> None:
    """Add cards to a file. It is written whole or not at all, and keeps the cards it holds.

    Raises:
        ValueError: There is a file that holds no cards.
    """
    old = read_cards(file) if Path(file).is_file() else []
    # the name is for readers of the file
    merged = [{'name': c.name, **dataclasses.asdict(c)} for c in merge_cards(old, cards)]
    content = {'version': VERSION, 'crc32': _compute_crc(merged), 'cards': merged}
    write_file(file, json.dumps(content, indent=1, allow_nan=False) + '\n')


def choose_headline(cards: Iterable[MetricCard]) -> MetricCard | None:
    """Choose the number to look at first: FID, but KID where there are too few images for it.

    Args:
        cards (Iterable[MetricCard]): Cards of one snapshot.

    Returns:
        MetricCard | None: None where neither was measured against held-out images.
    """
    found: dict[str, MetricCard] = {}
    for card in (card for card in cards if card.protocol.split != TRAIN_SPLIT):
        found.setdefault(card.protocol.metric, card)
    fid, kid = found.get('fid'), found.get('kid')
    real = fid and fid.protocol.reference
    if fid and kid and real and min(fid.protocol.num_generated, real.num) < LEAST_FOR_FID:
        return kid
    return fid or kid


def format_cards(cards: Sequence[MetricCard]) -> str:
    """Lay cards out as a table: a line for each, with name, value and standard deviation."""
    width = max((len(card.name) for card in cards), default=0)
    lines = []
    for card in cards:
        spread = card.standard_deviation
        tail = '' if spread is None else f' +- {spread:.3g}'
        tail += ''.join(f'  ({note})' for note in card.protocol.notes)
        lines.append(f'{card.name:<{width}}  {card.value:.5g}{tail}')
    return '\n'.join(lines)
