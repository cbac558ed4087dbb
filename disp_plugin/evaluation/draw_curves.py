"""The curves of a run as SVG that can stand in a page."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .findings import as_float
from .metric_name import MetricName

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


class Curves(NamedTuple):
    """Lines that share their axes.

    Attributes:
        title (str): What is shown.
        series (dict[str, Points]): Pairs of iteration and value by name of the line.
        floors (dict[str, float]): Values to draw as horizontal lines, by their names.
        note (str): What a reader should know of it.
    """

    title: str
    series: dict[str, Points]
    floors: dict[str, float]
    note: str


def group_series(
    series: Mapping[str, Points], cards: Iterable[Mapping[str, Any]] = ()
) -> list[Curves]:
    """Decide which scalars of a run are drawn together.

    Args:
        series (Mapping[str, Points]): What was logged, by name.
        cards (Iterable[Mapping[str, Any]]): Metric cards; memorization floors are taken from them
            where they were not logged. Defaults to (), none.

    Returns:
        list[Curves]: Losses, scores of the discriminator, the strength of augmentation, and the
        metrics; nothing that was measured only once. What has more lines than can be told apart
        makes several.
    """
    floors = {str(card.get('name')): card.get('value') for card in cards}
    floors |= {name: pairs[-1][1] for name, pairs in series.items() if pairs}
    grouped: dict[str, dict[str, Points]] = {}
    for name, pairs in series.items():
        group = _choose_group(name)
        if group and len(pairs) > 1:
            grouped.setdefault(group, {})[name] = pairs
    made = []
    for group in sorted(grouped, key=lambda group: min(map(_rank, grouped[group]))):
        lines = list(grouped[group].items())
        parts = [dict(lines[at : at + MAX_LINES]) for at in range(0, len(lines), MAX_LINES)]
        for number, part in enumerate(parts, 1):
            title = _title(group, part) + (f' ({number} of {len(parts)})' if parts[1:] else '')
            made.append(Curves(title, part, _choose_floors(part, floors), _say_direction(part)))
    return made


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


def _draw_lines(axes: Any, curves: Curves) -> None:
    ends = []
    for (name, points), (color, line, marker) in zip(curves.series.items(), _STYLES, strict=False):
        x, y = zip(*points, strict=True)
        every = max(1, len(x) // 8)
        axes.plot(
            *(x, y),
            color=color,
            linestyle=line,
            linewidth=1.4,
            marker=marker,
            markersize=3.5,
            markevery=every,
        )
        ends.append((y[-1], _shorten(name), color))
    for name, value in curves.floors.items():
        axes.axhline(value, color='#1a1a1a', linewidth=1.0, linestyle=(0, (8, 3)))
        ends.append((value, name, '#1a1a1a'))
    axes.margins(x=0.02)
    _label_ends(axes, ends)


def _label_ends(axes: Any, ends: list[tuple[float, str, str]]) -> None:
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


def _shorten(name: str) -> str:
    """Leave out of a line's name what the title says already."""
    parsed = MetricName.parse(name)
    if parsed is None:
        name = name.encode('utf-8', 'replace').decode()  # a file of JSON may hold half characters
        return name if len(name) <= _MAX_LABEL else f'{name[: _MAX_LABEL - 1]}…'
    label = {'copying': 'C_T', 'disc_gap': 'gap', 'fid_inverted': 'FID', 'ivom': 'IvOM'}.get(
        parsed.metric, parsed.metric.upper() if len(parsed.metric) == 3 else parsed.metric
    )
    return label if parsed.k is None else f'{label}, k = {parsed.k}'


def _choose_group(name: str) -> str | None:
    parsed = MetricName.parse(name)
    if parsed is None:
        if name.startswith('loss'):
            return 'Losses'
        if name.startswith('score'):
            return 'Scores of the discriminator'
        return 'Augmentation (ADA), p' if name == 'augment' else None
    if parsed.metric in ('fid_floor', 'kid_floor', 'disc_gap_in_sd'):
        return None
    protocol = f'{parsed.split} images{f", {parsed.space}" if parsed.space else ""}'
    if parsed.count is not None:
        protocol = f'{parsed.count:,} samples, {protocol}'
    if parsed.metric in _SHARED:
        return f'{_SHARED_TITLE} ({protocol})'
    return f'{_TITLES.get(parsed.metric, parsed.metric)} ({protocol})'


def _title(group: str, names: Iterable[str]) -> str:
    """Name a chart by what stands in it."""
    metrics = {parsed.metric for parsed in map(MetricName.parse, names) if parsed}
    *first, last = [metric for metric in _SHARED if metric in metrics] or ['']
    text = f'{", ".join(first)} and {last}' if first else last
    return group.replace(_SHARED_TITLE, text.capitalize(), 1)


_SHARED = ('precision', 'recall', 'density', 'coverage')
_SHARED_TITLE = 'Precision, recall, density and coverage'
_TITLES = {
    'fid': 'FID',
    'kid': 'KID',
    'fid_inverted': 'FID of inverted queries',
    'ivom': 'IvOM',
    'copying': 'Data copying, C_T',
    'disc_gap': "D's gap of scores, training minus held-out",
}


def _rank(name: str) -> int:
    """Order what training itself logs before the metrics."""
    parsed = MetricName.parse(name)
    if parsed is not None:
        return parsed.rank
    return -3 if name.startswith('loss') else -2 if name.startswith('score') else -1


def _choose_floors(names: Iterable[str], values: Mapping[str, Any]) -> dict[str, float]:
    """Find the lines that a curve is compared with."""
    found = {}
    for name in names:
        parsed = MetricName.parse(name)
        if parsed and parsed.metric in ('fid', 'kid'):
            floor = name.rsplit('/', 1)[-1].replace(parsed.metric, f'{parsed.metric}_floor', 1)
            value = as_float(values.get(floor))
            if value is not None and math.isfinite(value):
                found['memorization floor'] = value
        elif parsed and parsed.metric == 'copying':
            found |= {'copying below -3': -3.0}
    return found


def _say_direction(names: Iterable[str]) -> str:
    metrics = {parsed.metric for parsed in map(MetricName.parse, names) if parsed}
    if metrics & {'fid', 'kid', 'ivom', 'fid_inverted'}:
        return 'Lower is better.'
    if metrics & set(_SHARED):
        return 'Higher is better.'
    return 'Nearer to zero is better.' if metrics else ''


def _trim(svg: str) -> str:
    """Leave the element alone: no declaration, no metadata, no size in points."""
    svg = svg[svg.index('<svg') :]
    svg = re.sub(r'<metadata>.*?</metadata>', '', svg, flags=re.DOTALL)
    head, rest = svg.split('>', 1)
    head = re.sub(r' (?:width|height)="[^"]*"', '', head)
    return f'{head} role="img" aria-hidden="true">{rest}'
