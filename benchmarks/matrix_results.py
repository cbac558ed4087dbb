"""What matrix.py writes: one table, as Markdown and CSV."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matrix_cells import Cell
from matrix_runs import REPORTS
from matrix_settings import is_reported_where_chosen

FILE = 'matrix.json'
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
    from disp_plugin.files import write_file

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
                    found.setdefault(card.name, []).append(card.value)
                iteration = cards[0].snapshot.iteration
                found.setdefault('iteration', []).append(iteration)
    return values


def summarize(values: list[float]) -> tuple[float, float | None]:
    """Compute mean and standard deviation (n - 1) over seeds; None of one seed alone."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def write_results(work_dir: Path) -> None:
    """Write matrix.csv and matrix.md of the runs that are there.

    Args:
        work_dir (Path): Folder of the matrix.
    """
    from disp_plugin.files import write_file

    matrix = read_matrix(work_dir)
    values = read_values(work_dir, matrix['cells'])
    write_file(work_dir / 'matrix.csv', format_csv(matrix['cells'], values))
    write_file(work_dir / 'matrix.md', format_markdown(matrix, values))


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
                mean, deviation = summarize(numbers)
                row = [snapshot, metric, repr(mean), '' if deviation is None else repr(deviation)]
                row += [len(numbers), ' '.join(map(repr, numbers))]
                table.writerow([cell, *(cells[cell][a] for a in axes), *row])
    return stream.getvalue()


def format_markdown(matrix: Mapping[str, Any], values: Values) -> str:
    """A table for each snapshot and space; the memorization floor is its last row."""
    lines = [
        '# Matrix\n',
        'Mean ± standard deviation over seeds (n - 1), of runs of one budget. The row "training '
        'images" is the memorization floor: what a generator would get that only repeats them. '
        '"(n = 2)" is behind a mean of fewer seeds than its row has.\n',
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
    from metric_name import MetricName

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
    from metric_name import MetricName

    parsed = MetricName.parse(name)
    return f', {parsed.count} samples, {parsed.split} images' if parsed.count else ''


def _shorten(name: str) -> str:
    from metric_name import MetricName

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
            num_seeds = str(_count_seeds(found))
            rows.append([_label(matrix['cells'][cell]), num_seeds, *_spell(found, names)])
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


def _count_seeds(found: Mapping[str, list[float]]) -> int:
    return max(map(len, found.values()))


def _spell(found: Mapping[str, list[float]], names: list[str]) -> list[str]:
    """A mean of fewer seeds than the row has says so: it is one of other runs."""
    cells = []
    for name in names:
        if name not in found:
            cells.append('')
            continue
        mean, deviation = summarize(found[name])
        spread = '' if deviation is None else f' ± {deviation:.2g}'
        num = len(found[name])
        fewer = '' if num == _count_seeds(found) else f' (n = {num})'
        cells.append(f'{mean:.4g}{spread}{fewer}')
    return cells
