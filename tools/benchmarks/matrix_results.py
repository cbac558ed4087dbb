"""What matrix.py writes: one table as Markdown and CSV, and one picture."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matrix_cells import Cell
from matrix_runs import REPORTS
from matrix_settings import is_reported_where_chosen

FILE = 'matrix.json'
COLOURED = ('method', 'num_images', 'encoder')
"""Axes of the matrix that the colour of a line tells."""

FLOORS = {'kid_floor': 'kid', 'fid_floor': 'fid'}
SNAPSHOTS = {
    'best': 'Best snapshot (chosen on the images of validation, reported on others)',
    'last': 'Last snapshot',
}

CHOSEN_WHERE_REPORTED = 'Best snapshot (chosen on the images that report on it, which flatters it)'

# cell -> snapshot -> metric -> value by seed
Values = dict[str, dict[str, dict[str, list[float]]]]


def add_cells(
    work_dir: Path,
    cells: Iterable[Cell],
    notes: Mapping[str, str],
    command: str,
    settings: Mapping[str, Any],
) -> None:
    """Note what a matrix consists of, beside what earlier commands had there.

    Args:
        work_dir (Path): Its folder.
        cells (Iterable[Cell]): Its rows.
        notes (Mapping[str, str]): What the table says of a cell, by its name.
        command (str): What makes it.
        settings (Mapping[str, Any]): What all its runs share.
    """
    from disp_plugin.whole_file import write_file

    known = read_matrix(work_dir) if (work_dir / FILE).is_file() else {'cells': {}, 'commands': []}
    for cell in cells:
        fields = {**vars(cell), 'method': Path(cell.method).stem, 'note': notes.get(cell.name, '')}
        known['cells'][cell.name] = fields
    known['commands'] = list(dict.fromkeys([*known['commands'], command]))
    known['settings'] = dict(settings)
    write_file(work_dir / FILE, json.dumps(known, indent=1) + '\n')


def read_matrix(work_dir: Path) -> dict[str, Any]:
    """Read what :func:`add_cells` wrote.

    Args:
        work_dir (Path): Folder of a matrix.

    Returns:
        dict[str, Any]: ``cells`` by name, ``commands``, and ``settings`` that all runs share
        (folders of earlier versions have none).

    Raises:
        FileNotFoundError: It is none.
    """
    if not (work_dir / FILE).is_file():
        raise FileNotFoundError(f'{work_dir} holds no {FILE}: it is not the folder of a matrix')
    return json.loads((work_dir / FILE).read_text())


def read_values(work_dir: Path, cells: Iterable[str]) -> Values:
    """Collect the numbers of all finished runs.

    Args:
        work_dir (Path): Folder of the matrix.
        cells (Iterable[str]): Names of cells.

    Returns:
        Values: One number for each seed.
    """
    from disp_plugin.evaluation.metric_card import read_cards

    values: Values = {}
    for cell in cells:
        for snapshot, name in REPORTS.items():
            found = values.setdefault(cell, {}).setdefault(snapshot, {})
            for file in sorted((work_dir / cell).glob(f'seed*/{name}')):
                cards = read_cards(file)
                for card in cards:
                    found.setdefault(card['name'], []).append(card['value'])
                iteration = cards[0]['snapshot']['iteration']
                found.setdefault('iteration', []).append(iteration)
    return values


def summarise(values: list[float]) -> tuple[float, float | None]:
    """Compute mean and standard deviation (n - 1) over seeds; None of one seed alone."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def write_results(work_dir: Path, picture: bool = True) -> None:
    """Write matrix.csv, matrix.md and matrix.png of the runs that are there.

    Args:
        work_dir (Path): Folder of the matrix.
        picture (bool): Whether to draw, too. Defaults to True.
    """
    from disp_plugin.whole_file import write_file

    matrix = read_matrix(work_dir)
    values = read_values(work_dir, matrix['cells'])
    write_file(work_dir / 'matrix.csv', format_csv(matrix['cells'], values))
    write_file(work_dir / 'matrix.md', format_markdown(matrix, values))
    if picture:
        draw(work_dir, matrix['cells'])


def format_csv(cells: Mapping[str, Mapping[str, Any]], values: Values) -> str:
    """One line for each metric of each cell and snapshot; its last column has every seed's."""
    axes = ('method', 'companion', 'num_images', 'encoder')
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator='\n')
    columns = ('snapshot', 'metric', 'mean', 'standard_deviation', 'num_seeds', 'values')
    table.writerow(['cell', *axes, *columns])
    for cell, snapshots in values.items():
        for snapshot, metrics in snapshots.items():
            for metric, numbers in metrics.items():
                mean, deviation = summarise(numbers)
                row = [snapshot, metric, repr(mean), '' if deviation is None else repr(deviation)]
                row += [len(numbers), ' '.join(map(repr, numbers))]
                table.writerow([cell, *(cells[cell][a] for a in axes), *row])
    return stream.getvalue()


def format_markdown(matrix: Mapping[str, Any], values: Values) -> str:
    """A table for each snapshot and space; the memorisation floor is its last row."""
    lines = [
        '# Matrix\n',
        'Mean ± standard deviation over seeds (n - 1), of runs of one budget. The row "training '
        'images" is the memorisation floor: what a generator would get that only repeats them.\n',
        *(f'    {command}' for command in matrix['commands']),
        '',
    ]
    for snapshot, title in SNAPSHOTS.items():
        if snapshot == 'best' and is_reported_where_chosen(matrix.get('settings')):
            title = CHOSEN_WHERE_REPORTED
        of_snapshot = {cell: found[snapshot] for cell, found in values.items()}
        for space, names in _group_by_space(of_snapshot).items():
            title_of_table = f'## {title}: {space}{_say_protocol(names[0])}\n'
            lines += [title_of_table, *_format_table(matrix, of_snapshot, names), '']
    notes = [f'* {name}: {cell["note"]}' for name, cell in matrix['cells'].items() if cell['note']]
    missing = [cell for cell, found in values.items() if not found['last']]
    notes += [f'* {cell}: no finished run' for cell in missing]
    return '\n'.join([*lines, *notes]).rstrip() + '\n'


def _group_by_space(values: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Sort the names of metrics, floors apart, by where they are measured."""
    from disp_plugin.evaluation.metric_name import MetricName

    groups: dict[str, list[str]] = {}
    names = dict.fromkeys(name for found in values.values() for name in found)
    parsed = {name: MetricName.parse(name) for name in names}
    ranked = sorted(filter(parsed.get, names), key=lambda name: parsed[name].rank)
    for name in ranked:
        if parsed[name].metric not in FLOORS:
            groups.setdefault(parsed[name].space or 'the discriminator', []).append(name)
    if 'the discriminator' in groups:
        groups['the discriminator'].append('iteration')
    return groups


def _say_protocol(name: str) -> str:
    """Name what is in the names of all columns of a table."""
    from disp_plugin.evaluation.metric_name import MetricName

    parsed = MetricName.parse(name)
    return f', {parsed.count} samples, {parsed.split} images' if parsed.count else ''


def _shorten(name: str) -> str:
    from disp_plugin.evaluation.metric_name import MetricName

    parsed = MetricName.parse(name)
    if parsed is None:
        return name
    return parsed.metric.replace('_', ' ') + (f', k = {parsed.k}' if parsed.k else '')


def _format_table(
    matrix: Mapping[str, Any], values: Mapping[str, Mapping[str, list[float]]], names: list[str]
) -> list[str]:
    rows = [['', 'seeds', *map(_shorten, names)]]
    for cell, found in values.items():
        if found:
            num = max(map(len, found.values()))
            rows.append([_label(matrix['cells'][cell]), str(num), *_spell(found, names)])
    floors: dict[str, dict[str, list[float]]] = {}
    for cell, found in values.items():
        count = matrix['cells'][cell]['num_images']
        label = f'training images{"" if count is None else f", {count}"}'
        for name, numbers in found.items():
            for floor, metric in FLOORS.items():
                if name.startswith(floor):
                    above = name.replace(floor, metric, 1)
                    # the same in every run of the same images
                    floors.setdefault(label, {}).setdefault(above, numbers[:1])
    for label, found in floors.items():
        if set(found) & set(names):
            rows.append([label, '', *_spell(found, names)])
    texts = ['| ' + ' | '.join(row) + ' |' for row in rows]
    return [texts[0], '|' + ' --- |' * len(rows[0]), *texts[1:]]


def _label(cell: Mapping[str, Any]) -> str:
    count = cell['num_images']
    parts = (cell['method'], cell['companion'], f'{count} images' if count else '', cell['encoder'])
    return ', '.join(part for part in parts if part)


def _spell(found: Mapping[str, list[float]], names: list[str]) -> list[str]:
    cells = []
    for name in names:
        if name not in found:
            cells.append('')
            continue
        mean, deviation = summarise(found[name])
        cells.append(f'{mean:.4g}' + ('' if deviation is None else f' ± {deviation:.2g}'))
    return cells


def read_curves(work_dir: Path, cell: str) -> dict[str, dict[int, list[float]]]:
    """Collect what the validations of a cell's runs logged.

    Args:
        work_dir (Path): Folder of the matrix.
        cell (str): Its name.

    Returns:
        dict[str, dict[int, list[float]]]: By metric (with its space in brackets, where it has
        one) and iteration, a value for each seed.
    """
    from disp_plugin.evaluation.metric_name import MetricName
    from disp_plugin.evaluation.read_log import read_log

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


def draw(work_dir: Path, cells: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw KID and D's gap over iterations: a line for each cell, a band over its seeds.

    A method has one colour, whatever it is combined with; a companion has one style of line.

    Args:
        work_dir (Path): Folder of the matrix, where matrix.png is written.
        cells (Mapping[str, Mapping[str, Any]]): Its cells by name, as in matrix.json.
    """
    from matplotlib.figure import Figure

    from disp_plugin.whole_file import write_file

    looks = choose_looks(cells)
    curves = {cell: read_curves(work_dir, cell) for cell in cells}
    logged = dict.fromkeys(metric for found in curves.values() for metric in found)
    shown = [metric for metric in logged if metric.startswith('kid (')] + ['disc_gap']
    num_columns = len(shown) if len(shown) <= 3 else 2
    num_rows = math.ceil(len(shown) / num_columns)
    size = (5.5 * num_columns + 2.5, 4.5 * num_rows + 0.5)
    figure = Figure(figsize=size, layout='constrained')
    panels = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    for axes in panels[len(shown) :]:
        axes.remove()
    for axes, metric in zip(panels, shown, strict=False):
        for cell, found in curves.items():
            _draw_band(axes, found.get(metric, {}), cell, looks[cell])
        if (floor := find_floor(curves, metric)) is not None:
            axes.axhline(floor, color='k', linestyle=':', label='memorisation floor')
        if metric != 'disc_gap':
            _use_logarithm(axes)
        title = "D's scores, training minus held-out" if metric == 'disc_gap' else metric.upper()
        axes.set_title(f'{title}, validation')
        axes.set_xlabel('iteration')
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc='outside right upper', fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, format='png', dpi=120)
    write_file(work_dir / 'matrix.png', stream.getvalue())


def _use_logarithm(axes: Any) -> None:
    """Scale by the logarithm where every line is above 0; bands end at the axis."""
    least = min((min(line.get_ydata()) for line in axes.lines), default=0.0)
    if least > 0:
        axes.set_yscale('log', nonpositive='clip')
        axes.set_ylim(bottom=0.8 * least)


def find_floor(
    curves: Mapping[str, Mapping[str, Mapping[int, list[float]]]], metric: str
) -> float | None:
    """Find the memorisation floor of a metric.

    Args:
        curves (Mapping): What :func:`read_curves` returned, by cell.
        metric (str): One of its metrics.

    Returns:
        float | None: The mean of what was logged; None for a metric without a floor.
    """
    name, _, space = metric.partition(' ')
    floor = next((floor for floor, above in FLOORS.items() if above == name), None)
    logged = [found.get(f'{floor} {space}', {}) for found in curves.values()]
    values = [value for found in logged for numbers in found.values() for value in numbers]
    return statistics.fmean(values) if values else None


def choose_looks(cells: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Choose the colour and the style of each cell's line.

    Args:
        cells (Mapping[str, Mapping[str, Any]]): Cells by name, as in matrix.json.

    Returns:
        dict[str, dict[str, Any]]: ``color`` and ``linestyle`` by cell.
    """
    from matplotlib import colormaps

    colours, styles = colormaps['tab10'].colors, ('-', '--', ':', '-.')
    rows = {cell: tuple(at[axis] for axis in COLOURED) for cell, at in cells.items()}
    row_places = {row: place for place, row in enumerate(dict.fromkeys(rows.values()))}
    companions = dict.fromkeys(at['companion'] for at in cells.values())
    style_places = {name: place for place, name in enumerate(companions)}
    return {
        cell: dict(
            color=colours[row_places[rows[cell]] % len(colours)],
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
    middle, spread = zip(*(summarise(found[i]) for i in iterations), strict=True)
    low, high = (
        [m + sign * (s or 0.0) for m, s in zip(middle, spread, strict=True)] for sign in (-1, 1)
    )
    axes.plot(iterations, middle, label=label, **look)
    if not all(math.isclose(a, b) for a, b in zip(low, high, strict=True)):
        axes.fill_between(iterations, low, high, color=look['color'], alpha=0.15, linewidth=0)
