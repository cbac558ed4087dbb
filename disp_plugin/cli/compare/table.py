"""What a comparison writes: its cells and settings, and one table as Markdown and CSV."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from disp_plugin.evaluation.metric_card import Protocol, read_cards
from disp_plugin.files import write_file

from .cells import Cell, flatten
from .runs import REPORTS

FILE = 'comparison.json'
FLOORS = {'kid_floor': 'kid', 'fid_floor': 'fid'}
NOT_GIVEN = 'not given'
DISCRIMINATOR = 'the discriminator'

Settings = Mapping[str, object]
"""What all runs share: data sets, iterations, spaces, options."""

# cell -> snapshot -> metric -> value by seed
Values = dict[str, dict[str, dict[str, list[float]]]]


@dataclass(frozen=True)
class Comparison:
    """What the folder of a comparison consists of.

    Args:
        cells (dict[str, Cell]): Rows by name.
        notes (dict[str, str]): What the table says of a row.
        commands (list[str]): What made it.
        settings (Settings): What all runs share.
    """

    cells: dict[str, Cell]
    notes: dict[str, str]
    commands: list[str]
    settings: Settings

    @classmethod
    def read(cls, work_dir: Path) -> Comparison:
        """Read it from its folder.

        Raises:
            FileNotFoundError: The folder is none of a comparison.
        """
        file = work_dir / FILE
        if not file.is_file():
            raise FileNotFoundError(f'{work_dir} holds no {FILE}: it is no folder of a comparison')
        content = json.loads(file.read_text())
        cells = {name: Cell(**fields) for name, fields in content['cells'].items()}
        return cls(cells, content['notes'], content['commands'], content['settings'])

    def write(self, work_dir: Path) -> None:
        """Write it, beside what earlier commands had in the folder."""
        is_new = not (work_dir / FILE).is_file()
        before = Comparison({}, {}, [], {}) if is_new else Comparison.read(work_dir)
        content = {
            'cells': {name: vars(c) for name, c in (before.cells | self.cells).items()},
            'notes': before.notes | self.notes,
            'commands': list(dict.fromkeys([*before.commands, *self.commands])),
            'settings': self.settings,
        }
        write_file(work_dir / FILE, json.dumps(content, indent=1) + '\n')


def check_settings(work_dir: Path, settings: Settings) -> None:
    """Refuse runs that cannot stand in one table with those that are there.

    Raises:
        ValueError: They differ in their settings.
    """
    if not (work_dir / FILE).is_file():
        return
    before, now = flatten(Comparison.read(work_dir).settings), flatten(settings)
    differing = [
        f'{name} was {before.get(name, NOT_GIVEN)} and is {now.get(name, NOT_GIVEN)}'
        for name in dict.fromkeys([*before, *now])
        if before.get(name, NOT_GIVEN) != now.get(name, NOT_GIVEN)
    ]
    if differing:
        raise ValueError(
            f'{work_dir} holds runs with other settings, and one table cannot hold both: '
            f'{"; ".join(differing)}; choose another --work-dir'
        )


def summarize(values: list[float]) -> tuple[float, float | None]:
    """Compute mean and standard deviation (n - 1) over seeds; None of one seed alone."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def read_values(work_dir: Path, cells: Iterable[str]) -> tuple[Values, dict[str, Protocol]]:
    """Collect the numbers of all finished runs, one for each seed, and their protocols by name."""
    values: Values = {}
    protocols: dict[str, Protocol] = {}
    for cell in cells:
        for snapshot, name in REPORTS.items():
            found = values.setdefault(cell, {}).setdefault(snapshot, {})
            for file in sorted((work_dir / cell).glob(f'seed*/{name}')):
                cards = read_cards(file)
                for card in cards:
                    found.setdefault(card.name, []).append(card.value)
                    protocols[card.name] = card.protocol
                if cards and cards[0].snapshot.iteration is not None:
                    found.setdefault('iteration', []).append(cards[0].snapshot.iteration)
    return values, protocols


def write_results(work_dir: Path) -> None:
    """Write comparison.csv and comparison.md of the runs that are there."""
    comparison = Comparison.read(work_dir)
    values, protocols = read_values(work_dir, comparison.cells)
    write_file(work_dir / 'comparison.csv', format_csv(comparison.cells, values))
    write_file(work_dir / 'comparison.md', format_markdown(comparison, values, protocols))


def format_csv(cells: Mapping[str, Cell], values: Values) -> str:
    """One line for each metric of each cell and snapshot; its last column has every seed's."""
    axes = ('method', 'technique', 'num_images', 'encoder')
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator='\n')
    columns = ('snapshot', 'metric', 'mean', 'standard_deviation', 'num_seeds', 'values')
    table.writerow(['cell', *axes, *columns])
    for cell, snapshots in values.items():
        for snapshot, metrics in snapshots.items():
            for metric, numbers in metrics.items():
                mean, deviation = summarize(numbers)
                row = [snapshot, metric, repr(mean), '' if deviation is None else repr(deviation)]
                row += [str(len(numbers)), ' '.join(map(repr, numbers))]
                table.writerow([cell, *(getattr(cells[cell], axis) for axis in axes), *row])
    return stream.getvalue()


def format_markdown(
    comparison: Comparison, values: Values, protocols: Mapping[str, Protocol]
) -> str:
    """A table for each snapshot and space; the memorization floor is its last row."""
    lines = [
        '# Comparison\n',
        'Mean ± standard deviation over seeds (n - 1) of runs of one budget. The row "training '
        'images" is the memorization floor: what a generator would get that only repeats them. '
        '"(n = 2)" is behind a mean of fewer seeds than its row has.\n',
        *(f'    {command}' for command in comparison.commands),
        '',
    ]
    settings = comparison.settings
    is_chosen_there = settings.get('validation_set') == settings.get('test_set')
    images = 'the images that report on it, which flatters it' if is_chosen_there else ''
    titles = {
        'best': f'Best snapshot (chosen on {images or "validation images, reported on others"})',
        'last': 'Last snapshot',
    }
    for snapshot, title in titles.items():
        of_snapshot = {cell: found[snapshot] for cell, found in values.items() if found[snapshot]}
        for space, names in _group_by_space(of_snapshot, protocols).items():
            first = protocols[names[0]]
            count = f', {first.num_generated} samples, {first.split} images'
            lines.append(f'## {title}: {space}{count if first.num_generated else ""}\n')
            lines += [*_format_table(comparison.cells, of_snapshot, names, protocols), '']
    notes = [f'* {name}: {note}' for name, note in comparison.notes.items() if note]
    missing = [cell for cell, found in values.items() if not found['last']]
    notes += [f'* {cell}: no finished run' for cell in missing]
    return '\n'.join([*lines, *notes]).rstrip() + '\n'


def _group_by_space(
    values: Mapping[str, Mapping[str, list[float]]], protocols: Mapping[str, Protocol]
) -> dict[str, list[str]]:
    """Sort the names of metrics, without floors, by where they are measured."""
    groups: dict[str, list[str]] = {}
    names = {name for found in values.values() for name in found} & set(protocols)
    for name in sorted(names, key=lambda name: (protocols[name].rank, name)):
        space = protocols[name].space
        if protocols[name].metric not in FLOORS:
            groups.setdefault(space.name if space else DISCRIMINATOR, []).append(name)
    if DISCRIMINATOR in groups:
        groups[DISCRIMINATOR].append('iteration')
    return groups


def _format_table(
    cells: Mapping[str, Cell],
    values: Mapping[str, Mapping[str, list[float]]],
    names: list[str],
    protocols: Mapping[str, Protocol],
) -> list[str]:
    rows = [['', 'seeds', *(_shorten(name, protocols) for name in names)]]
    floors: dict[str, dict[str, list[float]]] = {}
    for cell, found in values.items():
        num_seeds = max(map(len, found.values()))
        rows.append([cells[cell].label, str(num_seeds), *_spell(found, names, num_seeds)])
        count = cells[cell].num_images
        label = f'training images{"" if count is None else f", {count}"}'
        for name, numbers in found.items():
            floor = protocols[name].metric if name in protocols else ''
            if floor in FLOORS:  # the same in every run of the same images
                above = name.replace(floor, FLOORS[floor], 1)
                floors.setdefault(label, {}).setdefault(above, numbers[:1])
    for label, found in floors.items():
        if set(found) & set(names):
            rows.append([label, '', *_spell(found, names, 1)])
    texts = ['| ' + ' | '.join(row) + ' |' for row in rows]
    return [texts[0], '|' + ' --- |' * len(rows[0]), *texts[1:]]


def _shorten(name: str, protocols: Mapping[str, Protocol]) -> str:
    if name not in protocols:
        return name
    protocol = protocols[name]
    return protocol.metric.replace('_', ' ') + (f', k = {protocol.k}' if protocol.k else '')


def _spell(found: Mapping[str, list[float]], names: list[str], num_seeds: int) -> list[str]:
    """A mean of fewer seeds than the row has says so: it is one of other runs."""
    texts = []
    for name in names:
        if name not in found:
            texts.append('')
            continue
        mean, deviation = summarize(found[name])
        spread = '' if deviation is None else f' ± {deviation:.2g}'
        num = len(found[name])
        texts.append(f'{mean:.4g}{spread}{"" if num == num_seeds else f" (n = {num})"}')
    return texts
