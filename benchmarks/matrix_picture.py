"""The picture that matrix.py draws: KID and D's gap over the iterations of its runs."""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matrix_results import read_matrix, summarize

GAP = 'disc_gap'
COLORED = ('method', 'num_images', 'encoder')
"""Axes of the matrix that the color of a line tells."""


def read_curves(work_dir: Path, cell: str) -> dict[str, dict[int, list[float]]]:
    """Collect what the validations of a cell's runs logged.

    Args:
        work_dir (Path): Folder of the matrix.
        cell (str): Its name.

    Returns:
        dict[str, dict[int, list[float]]]: By metric (with its space in brackets, where it has
        one) and iteration, a value for each seed.
    """
    from metric_name import MetricName

    from disp_plugin.evaluation.run import read_log

    curves: dict[str, dict[int, list[float]]] = {}
    for folder in sorted((work_dir / cell).glob('seed*')):
        for name, pairs in read_log(folder).series.items():
            parsed = MetricName.parse(name)
            if parsed is None:
                continue
            metric = parsed.metric + (f' ({parsed.space})' if parsed.space else '')
            for iteration, value in pairs:
                curves.setdefault(metric, {}).setdefault(iteration, []).append(value)
    return curves


def draw(work_dir: Path) -> None:
    """Draw KID and D's gap over iterations: a line for each cell, a band over its seeds.

    A method has one color, whatever it is combined with; a companion has one style of line.

    Args:
        work_dir (Path): Folder of the matrix, where matrix.png is written.
    """
    from matplotlib.figure import Figure

    from disp_plugin.files import write_file

    cells = read_matrix(work_dir)['cells']
    looks = choose_looks(cells)
    curves = {cell: read_curves(work_dir, cell) for cell in cells}
    logged = dict.fromkeys(metric for found in curves.values() for metric in found)
    shown = [metric for metric in logged if metric.startswith('kid (')] + [GAP]
    num_columns = len(shown) if len(shown) <= 3 else 2
    num_rows = math.ceil(len(shown) / num_columns)
    size = (5.5 * num_columns + 2.5, 4.5 * num_rows + 0.5)
    figure = Figure(figsize=size, layout='constrained')
    panels = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    for axes in panels[len(shown) :]:
        axes.remove()
    for axes, metric in zip(panels, shown, strict=False):
        _draw_panel(axes, curves, metric, looks)
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc='outside right upper', fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, format='png', dpi=120)
    write_file(work_dir / 'matrix.png', stream.getvalue())


def _draw_panel(
    axes: Any,
    curves: Mapping[str, Mapping[str, Mapping[int, list[float]]]],
    metric: str,
    looks: Mapping[str, Mapping[str, Any]],
) -> None:
    for cell, found in curves.items():
        _draw_band(axes, found.get(metric, {}), cell, looks[cell])
    if (floor := find_floor(curves, metric)) is not None:
        axes.axhline(floor, color='k', linestyle=':', label='memorization floor')
    title = metric.upper()
    if metric == GAP:
        title = "D's scores, training minus held-out"
    else:
        _use_logarithm(axes)
    axes.set_title(f'{title}, validation')
    axes.set_xlabel('iteration')


def _use_logarithm(axes: Any) -> None:
    """Scale by the logarithm where every line is above 0; bands end at the axis."""
    least = min((min(line.get_ydata()) for line in axes.lines), default=0.0)
    if least > 0:
        axes.set_yscale('log', nonpositive='clip')
        axes.set_ylim(bottom=0.8 * least)


def find_floor(
    curves: Mapping[str, Mapping[str, Mapping[int, list[float]]]], metric: str
) -> float | None:
    """Find the memorization floor of a metric.

    Args:
        curves (Mapping): What :func:`read_curves` returned, by cell.
        metric (str): One of its metrics.

    Returns:
        float | None: The mean of what was logged; None for a metric without a floor.
    """
    name, _, space = metric.partition(' ')
    logged = [found.get(f'{name}_floor {space}', {}) for found in curves.values()]
    values = [value for found in logged for numbers in found.values() for value in numbers]
    return statistics.fmean(values) if values else None


def choose_looks(cells: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Choose the color and the style of each cell's line.

    Args:
        cells (Mapping[str, Mapping[str, Any]]): Cells by name, as in matrix.json.

    Returns:
        dict[str, dict[str, Any]]: ``color`` and ``linestyle`` by cell.
    """
    from matplotlib import colormaps

    colors, styles = colormaps['tab10'].colors, ('-', '--', ':', '-.')
    rows = {cell: tuple(at[axis] for axis in COLORED) for cell, at in cells.items()}
    row_places = {row: place for place, row in enumerate(dict.fromkeys(rows.values()))}
    companions = dict.fromkeys(at['companion'] for at in cells.values())
    style_places = {name: place for place, name in enumerate(companions)}
    return {
        cell: dict(
            color=colors[row_places[rows[cell]] % len(colors)],
            linestyle=styles[style_places[at['companion']] % len(styles)],
        )
        for cell, at in cells.items()
    }


def _draw_band(
    axes: Any, found: Mapping[int, list[float]], label: str, look: Mapping[str, Any]
) -> None:
    if not found:
        return
    iterations = sorted(found)
    middle, spread = zip(*(summarize(found[i]) for i in iterations), strict=True)
    low, high = (
        [m + sign * (s or 0.0) for m, s in zip(middle, spread, strict=True)] for sign in (-1, 1)
    )
    axes.plot(iterations, middle, label=label, **look)
    if not all(math.isclose(a, b) for a, b in zip(low, high, strict=True)):
        axes.fill_between(iterations, low, high, color=look['color'], alpha=0.15, linewidth=0)
