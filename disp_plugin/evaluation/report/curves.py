"""The curves of a run as SVG that can stand in a page."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..metric_card import MetricCard, Protocol
from .findings import COPYING_BELOW, History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ['Curves', 'Line', 'draw_curves', 'group_series']

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

_LOGGED = {
    'Losses': 'loss.*',
    'Scores of the discriminator': 'score.*',
    'Augmentation (ADA), p': 'augment',
}
"""Title -> names of what training logs."""
_WORDS = {
    'fid': ('FID', 'FID'),
    'kid': ('KID', 'KID'),
    'fid_inverted': ('FID of inverted queries', 'FID'),
    'ivom': ('IvOM', 'IvOM'),
    'copying': ('Data copying, C_T', 'C_T'),
    'disc_gap': ("D's gap of scores, training minus held-out", 'gap'),
    **{name: ('', name) for name in ('precision', 'recall', 'density', 'coverage')},
}
"""Metric -> title of its chart ('' where it shares one with others), label of its line."""


class Line(NamedTuple):
    """One line of a chart: the number's name, and what to write at the end of its points."""

    name: str
    label: str
    points: Points


class Curves(NamedTuple):
    """Lines that share their axes.

    Attributes:
        title (str): What is shown.
        lines (list[Line]): The lines.
        floors (dict[str, float]): Values to draw as horizontal lines, by their names.
        note (str): What a reader should know of it.
    """

    title: str
    lines: list[Line]
    floors: dict[str, float]
    note: str

    @property
    def alt(self) -> str:
        """str: Where the lines end, for those who cannot see them."""
        ends = [f'{line.name} ends at {line.points[-1][1]:.4g}' for line in self.lines]
        return '; '.join(ends + [f'{name}: {value:.4g}' for name, value in self.floors.items()])


def group_series(
    logged: Mapping[str, Points], history: History, cards: Sequence[MetricCard] = ()
) -> list[Curves]:
    """Decide which scalars of a run are drawn together.

    Args:
        logged (Mapping[str, Points]): What training itself logged, by name.
        history (History): What was measured.
        cards (Sequence[MetricCard]): Cards of all snapshots, for memorization floors. Defaults to
            (), none.

    Returns:
        list[Curves]: Losses, scores of the discriminator, the strength of augmentation, and the
        metrics; nothing that was measured only once.
    """
    charts = []
    for title, names in _LOGGED.items():
        own = {n: p for n, p in logged.items() if re.fullmatch(names, n) and n not in history}
        lines = [Line(n, _shorten(n), points) for n, points in own.items() if len(points) > 1]
        charts.append(Curves(title, lines, {}, ''))
    grouped: dict[tuple, list[tuple[Protocol, Line]]] = {}
    for name, (protocol, points) in sorted(history.items(), key=lambda item: item[1].protocol.rank):
        if len(points) > 1 and protocol.metric in _WORDS:
            title, label = _WORDS[protocol.metric]
            label += f', k = {protocol.k}' if protocol.metric in ('precision', 'recall') else ''
            pair = protocol, Line(name, label, points)
            grouped.setdefault((title, _place(protocol)), []).append(pair)
    for (title, _), members in grouped.items():
        protocols, drawn = zip(*members, strict=True)
        first = protocols[0]
        shown = ', '.join(dict.fromkeys(protocol.metric for protocol in protocols))
        title = title or ' and '.join(shown.rsplit(', ', 1)).capitalize()
        count = f'{first.num_generated:,} samples' if first.num_generated else ''
        where = ', '.join(filter(None, (count, f'{first.split} images', first.space_name)))
        floors, note = _find_floors(first, cards), f'{first.better.capitalize()}.'
        charts.append(Curves(f'{title} ({where})', list(drawn), floors, note))
    return [part for chart in charts for part in _split(chart)]


def _place(protocol: Protocol) -> tuple:
    """Tell which numbers of one metric can share a chart."""
    return protocol.num_generated, protocol.split, protocol.space_name


def _split(curves: Curves) -> list[Curves]:
    """Divide curves into charts whose lines can be told apart."""
    starts = range(0, len(curves.lines), MAX_LINES)
    parts = [curves._replace(lines=curves.lines[at : at + MAX_LINES]) for at in starts]
    if len(parts) < 2:
        return parts
    places = (f'({number} of {len(parts)})' for number in range(1, len(parts) + 1))
    return [p._replace(title=f'{p.title} {at}') for p, at in zip(parts, places, strict=True)]


def _find_floors(protocol: Protocol, cards: Sequence[MetricCard]) -> dict[str, float]:
    """Find the lines that a curve is compared with."""
    if protocol.metric == 'copying':
        return {f'copying below {COPYING_BELOW:g}': COPYING_BELOW}
    floor = (f'{protocol.metric}_floor', *_place(protocol))
    found = [c.value for c in cards if (c.protocol.metric, *_place(c.protocol)) == floor]
    return {'memorization floor': found[-1]} if found else {}


def _shorten(name: str) -> str:
    name = name.encode('utf-8', 'replace').decode()  # a file of JSON may hold half characters
    return name if len(name) <= _MAX_LABEL else f'{name[: _MAX_LABEL - 1]}…'


def draw_curves(curves: Curves, best: int | None = None) -> str:
    """Draw lines over iterations, labeled at their ends, and mark the ``best`` iteration.

    Returns:
        str: An ``<svg>`` element without a size of its own, whose texts are texts.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(
        {
            'svg.fonttype': 'none',
            'svg.hashsalt': ascii(curves.title),
            'text.parse_math': False,
            'font.family': 'sans-serif',
            'font.size': 9,
            'lines.linewidth': 1.4,
            'lines.markersize': 3.5,
        }
    ):
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
    for line, (color, dashes, marker) in zip(curves.lines, _STYLES, strict=False):
        x, y = zip(*line.points, strict=True)
        every = max(1, len(x) // 8)
        axes.plot(x, y, color=color, linestyle=dashes, marker=marker, markevery=every)
        ends.append((y[-1], line.label, color))
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
            *(name, (1.0, end), (1.06, placed), 'axes fraction'),
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
