"""The curves of a run as SVG that can stand in a page."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..metric_card import MetricCard, Protocol
from .findings import COPYING_BELOW, History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ['Curves', 'draw_curves', 'group_series']

Points = Sequence[tuple[int, float]]

# Told apart by line and marker; the colors only help.
_STYLES = (
    ('#1a1a1a', '-', 'o'),
    ('#0b62a4', '--', 's'),
    ('#b3430a', '-.', '^'),
    ('#3f7d20', ':', 'D'),
    ('#7a3b8f', (0, (6, 1.5, 1, 1.5, 1, 1.5)), 'v'),
    ('#5f5f5f', (0, (1, 2)), 'P'),
)
MAX_LINES = len(_STYLES)
_SIZE = (5.0, 2.9)  # inches; small, so that letters stay legible on a phone
_LABEL_HEIGHT = 0.085  # of the axes
_MAX_LABEL = 20  # letters

_LABELS = {'copying': 'C_T', 'disc_gap': 'gap', 'fid_inverted': 'FID', 'ivom': 'IvOM'}
_TITLES = {
    'fid': 'FID',
    'kid': 'KID',
    'fid_inverted': 'FID of inverted queries',
    'ivom': 'IvOM',
    'copying': 'Data copying, C_T',
    'disc_gap': "D's gap of scores, training minus held-out",
}
_FRACTIONS = ('precision', 'recall', 'density', 'coverage')
"""They share a chart."""
_NOTES = {
    'lower': 'Lower is better.',
    'higher': 'Higher is better.',
    'zero': 'Nearer to zero is better.',
    '': '',
}


class Curves(NamedTuple):
    """Lines that share their axes.

    Attributes:
        title (str): What is shown.
        lines (dict[str, Points]): Pairs of iteration and value by name of the line.
        labels (dict[str, str]): What to write at the end of a line, by name.
        floors (dict[str, float]): Values to draw as horizontal lines, by their names.
        note (str): What a reader should know of it.
    """

    title: str
    lines: dict[str, Points]
    labels: dict[str, str]
    floors: dict[str, float]
    note: str


def group_series(
    logged: Mapping[str, Points], history: History, cards: Sequence[MetricCard] = ()
) -> list[Curves]:
    """Decide which scalars of a run are drawn together.

    Args:
        logged (Mapping[str, Points]): What training itself logged, by name.
        history (History): What was measured.
        cards (Sequence[MetricCard]): Cards of all snapshots; memorization floors are taken from
            them. Defaults to (), none.

    Returns:
        list[Curves]: Losses, scores of the discriminator, the strength of augmentation, and the
        metrics; nothing that was measured only once. What has more lines than can be told apart
        makes several.
    """
    made = []
    for title, belongs in (
        ('Losses', lambda name: name.startswith('loss')),
        ('Scores of the discriminator', lambda name: name.startswith('score')),
        ('Augmentation (ADA), p', lambda name: name == 'augment'),
    ):
        lines = {n: p for n, p in logged.items() if n not in history and belongs(n) and len(p) > 1}
        made += _split(Curves(title, lines, {name: _shorten(name) for name in lines}, {}, ''))
    grouped: dict[tuple, list[tuple[str, Protocol]]] = {}
    for name, series in sorted(history.items(), key=lambda item: item[1].protocol.rank):
        key = _group(series.protocol)
        if key and len(series.points) > 1:
            grouped.setdefault(key, []).append((name, series.protocol))
    for members in grouped.values():
        first = members[0][1]
        lines = {name: history[name].points for name, _ in members}
        labels = {name: _label(protocol) for name, protocol in members}
        title = _title([protocol for _, protocol in members])
        floors = _find_floors(first, cards)
        made += _split(Curves(title, lines, labels, floors, _NOTES[first.better]))
    return made


def _group(protocol: Protocol) -> tuple | None:
    """Tell which chart a number belongs to; None for one that is only compared with."""
    if protocol.metric in ('fid_floor', 'kid_floor', 'disc_gap_in_sd'):
        return None
    kind = 'fraction' if protocol.metric in _FRACTIONS else protocol.metric
    space = protocol.space and protocol.space.name
    return kind, protocol.num_generated, protocol.split, space


def _split(curves: Curves) -> list[Curves]:
    """Divide curves into charts whose lines can be told apart."""
    lines = list(curves.lines.items())
    parts = [dict(lines[at : at + MAX_LINES]) for at in range(0, len(lines), MAX_LINES)]
    if len(parts) < 2:
        return [curves._replace(lines=part) for part in parts]
    return [
        curves._replace(lines=part, title=f'{curves.title} ({number} of {len(parts)})')
        for number, part in enumerate(parts, 1)
    ]


def _title(protocols: Sequence[Protocol]) -> str:
    """Name a chart by what stands in it."""
    protocol = protocols[0]
    where = f'{protocol.split} images' + (f', {protocol.space.name}' if protocol.space else '')
    if protocol.num_generated:
        where = f'{protocol.num_generated:,} samples, {where}'
    text = _TITLES.get(protocol.metric, '')
    if not text:
        shown = {each.metric for each in protocols}
        *first, last = [metric for metric in _FRACTIONS if metric in shown]
        text = (f'{", ".join(first)} and {last}' if first else last).capitalize()
    return f'{text} ({where})'


def _label(protocol: Protocol) -> str:
    """Name a line by what the title does not say."""
    metric = protocol.metric
    label = _LABELS.get(metric, metric.upper() if len(metric) == 3 else metric)
    return f'{label}, k = {protocol.k}' if metric in ('precision', 'recall') else label


def _find_floors(protocol: Protocol, cards: Sequence[MetricCard]) -> dict[str, float]:
    """Find the lines that a curve is compared with."""
    if protocol.metric == 'copying':
        return {f'copying below {COPYING_BELOW:g}': COPYING_BELOW}
    wanted = _group(protocol) or ('',)
    for card in reversed(cards):
        floor = card.protocol
        place = (floor.num_generated, floor.split, floor.space and floor.space.name)
        if floor.metric == f'{protocol.metric}_floor' and place == wanted[1:]:
            return {'memorization floor': card.value}
    return {}


def _shorten(name: str) -> str:
    name = name.encode('utf-8', 'replace').decode()  # a file of JSON may hold half characters
    return name if len(name) <= _MAX_LABEL else f'{name[: _MAX_LABEL - 1]}…'


def draw_curves(curves: Curves, best: int | None = None) -> str:
    """Draw lines over iterations, labeled at their ends.

    Args:
        curves (Curves): What to draw.
        best (int | None): Iteration of the best snapshot, to mark. Defaults to None, no mark.

    Returns:
        str: An ``<svg>`` element without a size of its own, whose texts are texts.
    """
    import matplotlib
    from matplotlib.figure import Figure

    options: Any = {
        'svg.fonttype': 'none',
        'svg.hashsalt': ascii(curves.title),
        'text.parse_math': False,
        'font.family': 'sans-serif',
        'font.size': 9,
    }
    with matplotlib.rc_context(options):
        figure = Figure(figsize=_SIZE)
        axes = figure.add_axes((0.12, 0.15, 0.59, 0.78))
        _draw_lines(axes, curves)
        if best is not None:
            axes.axvline(best, color='#1a1a1a', linewidth=0.8, linestyle=(0, (1, 1)), zorder=0)
            axes.annotate('best', (best, 1.01), xycoords=('data', 'axes fraction'), ha='center')
        axes.set_xlabel('iteration')
        axes.spines[['top', 'right']].set_visible(False)
        axes.grid(axis='y', color='#d8d8d8', linewidth=0.6)
        axes.set_axisbelow(True)
        file = io.StringIO()
        metadata = dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))
        figure.savefig(file, format='svg', metadata=metadata, transparent=True)
    return _trim(file.getvalue())


def _draw_lines(axes: Axes, curves: Curves) -> None:
    ends = []
    for (name, points), (color, line, marker) in zip(curves.lines.items(), _STYLES, strict=False):
        x, y = zip(*points, strict=True)
        axes.plot(
            *(x, y),
            color=color,
            linestyle=line,
            linewidth=1.4,
            marker=marker,
            markersize=3.5,
            markevery=max(1, len(x) // 8),
        )
        ends.append((y[-1], curves.labels[name], color))
    for name, value in curves.floors.items():
        axes.axhline(value, color='#1a1a1a', linewidth=1.0, linestyle=(0, (8, 3)))
        ends.append((value, name, '#1a1a1a'))
    axes.margins(x=0.02)
    _label_ends(axes, ends)


def _label_ends(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Write each line's name beside its end, in the order of the ends, without overlap."""
    low, high = axes.get_ylim()
    placed = -_LABEL_HEIGHT
    spare = 1.0 - _LABEL_HEIGHT * (len(ends) - 1)
    for rank, (value, name, color) in enumerate(sorted(ends)):
        end = (value - low) / (high - low)
        placed = max(placed + _LABEL_HEIGHT, min(end, spare + _LABEL_HEIGHT * rank))
        axes.annotate(
            name,
            xy=(1.0, end),
            xytext=(1.06, placed),
            xycoords='axes fraction',
            va='center',
            color=color,
            fontsize=8,
            arrowprops={'arrowstyle': '-', 'color': color, 'linewidth': 0.5, 'shrinkA': 1},
        )


def _trim(svg: str) -> str:
    """Keep the element alone: no declaration, no metadata, no size in points."""
    svg = svg[svg.index('<svg') :]
    svg = re.sub(r'<metadata>.*?</metadata>', '', svg, flags=re.DOTALL)
    head, rest = svg.split('>', 1)
    head = re.sub(r' (?:width|height)="[^"]*"', '', head)
    return f'{head} role="img" aria-hidden="true">{rest}'
