"""What a comparison writes: its cells and settings, and one table as Markdown and CSV."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from disp_plugin.evaluation.metric_card import Protocol, read_cards
from disp_plugin.files import write_file

from .cells import Cell, flatten
from .runs import REPORTS, remove_runs

FILE = 'comparison.json'
FLOORS = {'kid_floor': 'kid', 'fid_floor': 'fid'}
NOT_GIVEN = 'not given'
FLATTERED = ' †'
DISCRIMINATOR = 'the discriminator'

Settings = Mapping[str, object]
"""What all runs share: data sets, iterations, spaces, options."""


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
        cells = {name: Cell(**fields) for name, fields in content.pop('cells').items()}
        return cls(cells, **content)

    def write(self, work_dir: Path) -> None:
        """Write it, beside what earlier commands had in the folder."""
        is_new = not (work_dir / FILE).is_file()
        before = Comparison({}, {}, [], {}) if is_new else Comparison.read(work_dir)
        both = Comparison(
            before.cells | self.cells,
            before.notes | self.notes,
            list(dict.fromkeys([*before.commands, *self.commands])),
            self.settings,
        )
        write_file(work_dir / FILE, json.dumps(asdict(both), indent=1) + '\n')


@dataclass(frozen=True)
class Row:
    """The values of one metric over the seeds of a cell.

    Args:
        cell (Cell): Which was trained.
        snapshot (str): 'best' or 'last'.
        metric (str): Name of the protocol, or 'iteration': that of the snapshot.
        protocol (Protocol | None): None for the iteration.
        values (list[float]): One for each finished run.
    """

    cell: Cell
    snapshot: str
    metric: str
    protocol: Protocol | None
    values: list[float]

    def spell(self, num_seeds: int) -> str:
        """Write mean and deviation; a mean of fewer seeds than other columns have says so."""
        mean, deviation = summarize(self.values)
        spread = '' if deviation is None else f' ± {deviation:.2g}'
        num = len(self.values)
        mark = FLATTERED if self.protocol and self.protocol.flattery else ''
        return f'{mean:.4g}{spread}{"" if num == num_seeds else f" (n = {num})"}{mark}'


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
            f'{"; ".join(differing)}; choose another --work-dir, or remove these runs by '
            '--overwrite'
        )


def remove_comparison(work_dir: Path) -> None:
    """Remove a comparison and its runs; banks, manifests and files of others stay."""
    if not (work_dir / FILE).is_file():
        return
    for name in Comparison.read(work_dir).cells:
        remove_runs(work_dir / name)
    for name in ('comparison.md', 'comparison.csv', 'comparison.png', FILE):
        (work_dir / name).unlink(missing_ok=True)


def summarize(values: list[float]) -> tuple[float, float | None]:
    """Compute mean and standard deviation (n - 1) over seeds; None of one seed alone."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def read_rows(work_dir: Path, cells: Iterable[Cell]) -> list[Row]:
    """Collect the numbers of all finished runs."""
    rows: dict[tuple[Cell, str, str], Row] = {}
    for cell in cells:
        for snapshot, name in REPORTS.items():
            for file in sorted((work_dir / cell.name).glob(f'seed*/{name}')):
                cards = read_cards(file)
                found: list[tuple[str, Protocol | None, float]]
                found = [(card.name, card.protocol, card.value) for card in cards]
                if cards and (iteration := cards[0].snapshot.iteration) is not None:
                    found += [('iteration', None, iteration)]
                for metric, protocol, value in found:
                    empty = Row(cell, snapshot, metric, protocol, [])
                    rows.setdefault((cell, snapshot, metric), empty).values.append(value)
    return list(rows.values())


def write_results(work_dir: Path) -> None:
    """Write comparison.csv and comparison.md of the runs that are there."""
    comparison = Comparison.read(work_dir)
    rows = read_rows(work_dir, comparison.cells.values())
    write_file(work_dir / 'comparison.csv', format_csv(rows))
    write_file(work_dir / 'comparison.md', format_markdown(comparison, rows))


def format_csv(rows: Iterable[Row]) -> str:
    """One line for each metric of each cell and snapshot; its last column has every seed's."""
    axes = ('method', 'technique', 'num_images', 'encoder')
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator='\n')
    columns = ('snapshot', 'metric', 'mean', 'standard_deviation', 'num_seeds', 'values')
    table.writerow(['cell', *axes, *columns])
    for row in rows:
        numbers = [*summarize(row.values), len(row.values), ' '.join(map(repr, row.values))]
        cell = [row.cell.name, *(getattr(row.cell, axis) for axis in axes)]
        table.writerow([*cell, row.snapshot, row.metric, *numbers])
    return stream.getvalue()


def format_markdown(comparison: Comparison, rows: Collection[Row]) -> str:
    """A table for each snapshot and space; the memorization floor is its last row."""
    lines = [
        '# Comparison\n',
        'Mean ± standard deviation over seeds (n - 1) of runs of one budget. The row "training '
        'images" is the memorization floor: what a generator would get that only repeats them. '
        '"(n = 2)" is behind a mean of fewer seeds than its row has.\n',
        *(f'    {command}' for command in comparison.commands),
        '',
    ]
    titles = {
        'best': 'Best snapshot (chosen on validation images, reported on others)',
        'last': 'Last snapshot',
    }
    for snapshot, title in titles.items():
        of_snapshot = [row for row in rows if row.snapshot == snapshot]
        for space, protocols in _group_by_space(of_snapshot).items():
            first = protocols[0]
            count = f', {first.num_generated} samples, {first.split} images'
            lines.append(f'## {title}: {space}{count if first.num_generated else ""}\n')
            lines += [*_format_table(of_snapshot, protocols, space == DISCRIMINATOR), '']
    flattery = {row.protocol.flattery for row in rows if row.protocol} - {''}
    lines += [f'{FLATTERED.strip()} {note}\n' for note in sorted(flattery)]
    notes = [f'* {name}: {note}' for name, note in comparison.notes.items() if note]
    finished = {row.cell.name for row in rows if row.snapshot == 'last'}
    notes += [f'* {name}: no finished run' for name in comparison.cells if name not in finished]
    return '\n'.join([*lines, *notes]).rstrip() + '\n'


def _group_by_space(rows: Iterable[Row]) -> dict[str, list[Protocol]]:
    """Sort the metrics, without floors, by where they are measured."""
    protocols = {row.metric: row.protocol for row in rows if row.protocol}
    groups: dict[str, list[Protocol]] = {}
    for protocol in sorted(protocols.values(), key=lambda p: (p.rank, p.name)):
        if protocol.metric not in FLOORS:
            space = protocol.space.name if protocol.space else DISCRIMINATOR
            groups.setdefault(space, []).append(protocol)
    return groups


def _format_table(rows: Iterable[Row], protocols: list[Protocol], has_iteration: bool) -> list[str]:
    columns = {
        protocol.name: protocol.metric.replace('_', ' ')
        + (f', k = {protocol.k}' if protocol.k else '')
        for protocol in protocols
    }
    columns |= {'iteration': 'iteration'} if has_iteration else {}
    cells: dict[Cell, dict[str, Row]] = {}
    floors: dict[str, dict[str, str]] = {}
    for row in rows:
        cells.setdefault(row.cell, {})[row.metric] = row
        floor, count = row.protocol.metric if row.protocol else '', row.cell.num_images
        above = row.metric.replace(floor, FLOORS.get(floor, ''), 1)
        if floor in FLOORS and above in columns:  # the same in every run of the same images
            label = f'training images{"" if count is None else f", {count}"}'
            floors.setdefault(label, {}).setdefault(above, f'{row.values[0]:.4g}')
    table = [['', 'seeds', *columns.values()]]
    for cell, found in cells.items():
        num = max(len(row.values) for row in found.values())
        texts = (found[name].spell(num) if name in found else '' for name in columns)
        table.append([cell.label, str(num), *texts])
    for label, values in floors.items():
        table.append([label, '', *(values.get(name, '') for name in columns)])
    lines = ['| ' + ' | '.join(line) + ' |' for line in table]
    return [lines[0], '|' + ' --- |' * len(table[0]), *lines[1:]]
