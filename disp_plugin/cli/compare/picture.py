"""The picture of a comparison: KID and D's gap over the iterations of its runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from disp_plugin.evaluation.metric_card import CARDS_FILE, read_cards
from disp_plugin.files import replace_file

from .cells import Cell
from .table import Comparison, summarize

GAP = 'disc_gap'

Curves = dict[str, dict[int, list[float]]]
"""Metric, with its space in brackets -> iteration -> a value for each seed."""


def read_curves(work_dir: Path, cell: str) -> Curves:
    """Collect what the validations of a cell's runs measured."""
    curves: Curves = {}
    for file in sorted((work_dir / cell).glob(f'seed*/{CARDS_FILE}')):
        for card in read_cards(file):
            space, iteration = card.protocol.space, card.snapshot.iteration
            metric = card.protocol.metric + (f' ({space.name})' if space else '')
            if iteration is not None:
                curves.setdefault(metric, {}).setdefault(iteration, []).append(card.value)
    return curves


def draw(work_dir: Path) -> None:
    """Draw comparison.png: a line for each cell, a band over its seeds.

    A method has one color, whatever it is combined with; a technique has one style of line.
    """
    cells = Comparison.read(work_dir).cells
    looks = choose_looks(cells)
    curves = {cell: read_curves(work_dir, cell) for cell in cells}
    measured = dict.fromkeys(metric for found in curves.values() for metric in found)
    shown = [metric for metric in measured if metric.startswith('kid (')] + [GAP]
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
    with replace_file(work_dir / 'comparison.png') as file:
        figure.savefig(file, format='png', dpi=120)


def choose_looks(cells: Mapping[str, Cell]) -> dict[str, tuple[str, str]]:
    """Choose color and line style of each cell."""
    styles = ('-', '--', ':', '-.')
    rows = {name: (cell.method, cell.num_images, cell.encoder) for name, cell in cells.items()}
    row_places = list(dict.fromkeys(rows.values()))
    style_places = list(dict.fromkeys(cell.technique for cell in cells.values()))
    return {
        name: (
            f'C{row_places.index(rows[name]) % 10}',
            styles[style_places.index(cell.technique) % len(styles)],
        )
        for name, cell in cells.items()
    }


def find_floor(curves: Mapping[str, Curves], metric: str) -> float | None:
    """Find the memorization floor of a metric, the mean of all measured; None without one."""
    name, _, space = metric.partition(' ')
    measured = [found.get(f'{name}_floor {space}', {}) for found in curves.values()]
    values = [value for found in measured for numbers in found.values() for value in numbers]
    return statistics.fmean(values) if values else None


def _draw_panel(
    axes: Axes,
    curves: Mapping[str, Curves],
    metric: str,
    looks: Mapping[str, tuple[str, str]],
) -> None:
    for cell, found in curves.items():
        if metric in found:
            iterations = sorted(found[metric])
            color, style = looks[cell]
            summaries = [summarize(found[metric][iteration]) for iteration in iterations]
            mean, spread = (np.array(part, dtype=float) for part in zip(*summaries, strict=True))
            axes.plot(iterations, mean, label=cell, color=color, linestyle=style)
            # one seed alone has no spread, which is nan here
            low, high = mean - spread, mean + spread
            axes.fill_between(iterations, low, high, color=color, alpha=0.15, linewidth=0)
    if (floor := find_floor(curves, metric)) is not None:
        axes.axhline(floor, color='k', linestyle=':', label='memorization floor')
    name, _, space = metric.partition(' ')
    title = "D's scores, training minus held-out" if metric == GAP else f'{name.upper()} {space}'
    axes.set_title(f'{title}, validation')
    axes.set_xlabel('iteration')
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    least = min((float(np.min(line.get_ydata())) for line in axes.lines), default=0.0)
    if metric != GAP and least > 0:  # bands end at the axis
        axes.set_yscale('log', nonpositive='clip')
        axes.set_ylim(bottom=0.8 * least)
