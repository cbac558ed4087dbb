"""A run on one page that needs nothing but itself."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from disp_plugin import __version__
from disp_plugin.applications.load_gan import load_gan
from disp_plugin.files import check_out, write_file

from .digest_config import digest_config
from .draw_curves import Curves, draw_curves, group_series
from .find_run import Run, find_run
from .findings import Finding, as_float
from .metric_name import MetricName
from .read_log import MAX_ITERATION, RunLog, read_log
from .show_images import show_grid, show_nearest, show_walks
from .verdict import judge_run

__all__ = ['make_report', 'write_report']

TEMPLATE = Path(__file__).with_name('report.html.j2')
CONTENT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)
"""What the page tells browsers: load nothing, run nothing."""
CHOOSING_SPLIT = 'val'
"""Validations during training, by which the best snapshot is chosen."""

_EXPECTED = (
    *(OSError, ValueError, LookupError, TypeError, RuntimeError),
    *(AttributeError, AssertionError, ImportError, ArithmeticError),
)
"""What a damaged or incomplete run raises."""

Result = TypeVar('Result')


class Attempt(NamedTuple):
    """A part of the page, or why it is missing.

    Attributes:
        content (Any): The part; None where it is missing.
        reason (str): Why; '' where it is there.
    """

    content: Any
    reason: str


def write_report(
    work_dir: str | Path,
    out_file: str | Path | None = None,
    checkpoint: str = 'best',
    seed: int = 0,
) -> Path:
    """Write the page of a run.

    Args:
        work_dir (str | Path): The run's work folder.
        out_file (str | Path | None): File to write, or a folder that exists to write
            ``report.html`` into. Defaults to None: the work folder.
        checkpoint (str): 'best', 'last' or a file. Defaults to 'best'.
        seed (int): Seed of the samples. Defaults to 0.

    Returns:
        Path: The file, which is written whole or not at all.

    Raises:
        FileNotFoundError: The folder or the checkpoint does not exist, or the folder is no run's.
        ValueError: The file cannot be written there.
    """
    file = Path(work_dir if out_file is None else out_file)
    if out_file is None or file.is_dir():
        file /= 'report.html'
    check_out(file, is_folder=False)
    page = make_report(work_dir, checkpoint, seed)
    write_file(file, page.encode('utf-8', 'replace'))
    return file


def make_report(work_dir: str | Path, checkpoint: str = 'best', seed: int = 0) -> str:
    """Make the page of a run: one HTML text with all pictures in it.

    What is missing from the run, or damaged, is said in its place. Everything that comes from the
    run is taken for text.

    Args:
        work_dir (str | Path): The run's work folder.
        checkpoint (str): 'best', 'last' or a file. Defaults to 'best'.
        seed (int): Seed of the samples. Defaults to 0.

    Returns:
        str: The page.

    Raises:
        FileNotFoundError: The folder or the checkpoint does not exist, or the folder is no run's.
    """
    import jinja2

    run = find_run(work_dir, checkpoint)
    values = {
        'title': str(run.meta.get('experiment_name') or run.work_dir.resolve().name),
        'version': __version__,
        'policy': CONTENT_POLICY,
        'run': run,
        'seed': seed,
        'digest': _attempt(lambda: digest_config(run.cfg, run.iteration, run.meta.get('seed'))),
        **_show_numbers(run, RunLog({}, []) if run.elsewhere else read_log(work_dir)),
        **_show_pictures(run, seed),
    }
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(TEMPLATE.read_text(encoding='utf-8')).render(values)


def _leave_out_choosing(cards: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Judge by images that did not choose the snapshot, where there are such."""
    splits = [name.split if name else None for name in (MetricName.parse(c['name']) for c in cards)]
    if set(splits) <= {CHOOSING_SPLIT, None}:
        return cards
    return [card for card, split in zip(cards, splits, strict=True) if split != CHOOSING_SPLIT]


def _show_numbers(run: Run, log: RunLog) -> dict[str, Any]:
    """Make the parts of the page that rest on cards and logs."""
    own, foreign = _divide_cards(run)
    cards, others, measured = _choose_cards(own, run.iteration)
    drawable = _leave_out_mixed(own)
    history = _merge_history(drawable, log.history())
    series = {**log.series, **_list_series(history)}
    if run.iteration is not None:
        history = [entry for entry in history if entry[0] <= run.iteration]
    verdict = judge_run(_leave_out_choosing(cards), history, measured)
    rows, other_rows = [_Row(card) for card in cards], [_Row(card) for card in others + foreign]
    return {
        'verdict': verdict,
        'findings': _group_findings(verdict.findings),
        'measured': measured,
        'curves': _draw(series, drawable, run.best),
        'cards': rows,
        'other_cards': other_rows,
        'sources': _list_sources(rows + other_rows),
        'problems': run.problems + log.problems,
    }


def _show_pictures(run: Run, seed: int) -> dict[str, Attempt]:
    loaded = _attempt(lambda: _load(run))
    return {
        'grid': _with_gan(loaded, lambda gan, cfg: show_grid(gan, seed)),
        'nearest': _with_gan(loaded, lambda gan, cfg: show_nearest(gan, cfg, seed)),
        'walks': _with_gan(loaded, lambda gan, cfg: show_walks(gan, seed)),
    }


def _group_findings(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Put together what one rule found in several spaces."""
    grouped: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        grouped.setdefault((finding.severity, finding.subject), []).append(finding)
    return list(grouped.values())


def _load(run: Run) -> tuple[Any, Mapping[str, Any]]:
    if run.checkpoint is None:
        raise ValueError('The folder holds no checkpoint.')
    return load_gan(run.checkpoint)


def _attempt(make: Callable[[], Result]) -> Attempt:
    try:
        return Attempt(make(), '')
    except _EXPECTED as error:
        return Attempt(None, str(error) or type(error).__name__)


def _with_gan(loaded: Attempt, make: Callable[[Any, Any], Result]) -> Attempt:
    if loaded.reason:
        return loaded
    return _attempt(lambda: make(*loaded.content))


def _draw(series: Mapping[str, Any], cards: list[dict[str, Any]], best: int | None) -> list[Any]:
    """Draw all curves: title, note, text alternative and SVG of each."""
    drawn = []
    for curves in group_series(series, cards):
        ends = [f'{name} ends at {points[-1][1]:.4g}' for name, points in curves.series.items()]
        ends += [f'{name}: {value:.4g}' for name, value in curves.floors.items()]
        svg = _attempt(functools.partial(_draw_one, curves, best))
        drawn.append({'curves': curves, 'svg': svg, 'alt': '; '.join(ends)})
    return drawn


def _draw_one(curves: Curves, best: int | None) -> Any:
    import markupsafe

    return markupsafe.Markup(draw_curves(curves, best))


def _divide_cards(run: Run) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Tell the cards of this run from those of others that were written beside them."""
    names = (None, run.work_dir.resolve().name)
    own = [card for card in run.cards if _run_name(card) in names]
    if not own:
        return run.cards, []  # the folder was renamed
    return own, [card for card in run.cards if _run_name(card) not in names]


def _choose_cards(
    cards: list[dict[str, Any]], wanted: int | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str]:
    """Divide the cards into those of the reported snapshot and the others.

    Where the snapshot has none, the newest cards stand for it, and when they were measured is told.
    """
    iterations = [_iteration(card) for card in cards]
    newest = max((i for i in iterations if i is not None), default=None)
    taken = wanted if wanted in iterations else newest
    chosen = [card for card, i in zip(cards, iterations, strict=True) if i == taken]
    others = [card for card, i in zip(cards, iterations, strict=True) if i != taken]
    measured = ''
    if chosen and taken != wanted:
        measured = 'at an unknown iteration' if taken is None else f'at iteration {taken}'
    return sorted(chosen, key=_rank), others, measured


def _rank(card: Mapping[str, Any]) -> tuple[int, str]:
    name = MetricName.parse(str(card.get('name')))
    return (99, '') if name is None else (name.rank, name.space or '')


def _leave_out_mixed(cards: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out the numbers of held-out sets that share a name: no curve can hold both."""
    marks: dict[str, set[str]] = {}
    for card in cards:
        reference = card.get('reference')
        mark = _mark(reference) if isinstance(reference, Mapping) else ''
        marks.setdefault(card['name'], set()).update([mark] if mark else [])
    return [card for card in cards if len(marks[card['name']]) <= 1]


def _run_name(card: Mapping[str, Any]) -> str | None:
    snapshot = card.get('snapshot')
    name = snapshot.get('run') if isinstance(snapshot, Mapping) else None
    return name if isinstance(name, str) else None


def _iteration(card: Mapping[str, Any]) -> int | None:
    snapshot = card.get('snapshot')
    iteration = snapshot.get('iteration') if isinstance(snapshot, Mapping) else None
    is_known = isinstance(iteration, int) and 0 <= iteration < MAX_ITERATION
    return iteration if is_known else None


def _merge_history(
    cards: Iterable[Mapping[str, Any]], logged: list[tuple[int, dict[str, float]]]
) -> list[tuple[int, dict[str, float]]]:
    """Add numbers that were measured after training to those of its validations."""
    merged = {iteration: dict(metrics) for iteration, metrics in logged}
    for card in cards:
        iteration, value = _iteration(card), as_float(card.get('value'))
        if iteration is not None and value is not None and math.isfinite(value):
            merged.setdefault(iteration, {}).setdefault(card['name'], value)
    return sorted(merged.items())


def _list_series(
    history: list[tuple[int, dict[str, float]]],
) -> dict[str, list[tuple[int, float]]]:
    names = dict.fromkeys(name for _, metrics in history for name in metrics)
    return {
        name: [(i, metrics[name]) for i, metrics in history if name in metrics] for name in names
    }


class _Source(NamedTuple):
    """Real images or a space: in short, with the hash that tells it apart, and at length."""

    short: str
    mark: str
    text: str

    @classmethod
    def of_images(cls, images: Any) -> _Source | None:
        if not isinstance(images, Mapping):
            return None
        short = f'{images.get("num")} {images.get("split")} images'
        flips = images.get('flips')
        views = ', and mirrored' if flips is True else ', not mirrored' if flips is False else ''
        return cls(short, _mark(images), f'{short} of {images.get("data_root")}{views}')

    @classmethod
    def of_space(cls, space: Any) -> _Source | None:
        if not isinstance(space, Mapping):
            return None
        name = str(space.get('name'))
        text = f'the space {name}: {space.get("encoder")}; {space.get("preprocessing")}'
        return cls(name, _mark(space), text)


def _mark(source: Mapping[str, Any]) -> str:
    return str(source.get('fingerprint', ''))[:12]


def _list_sources(rows: Iterable[_Row]) -> list[_Source]:
    """List what the cards name by a hash, once each."""
    found = [source for row in rows for source in (*row.images, row.space) if source is not None]
    return list({source.mark: source for source in found}.values())


class _Row:
    """A card as texts for a table; a card that lacks a field has a dash there."""

    def __init__(self, card: Mapping[str, Any]) -> None:
        self.name = str(card.get('name'))
        self.value = _short(card.get('value'))
        spread = as_float(card.get('standard_deviation'))
        self.spread = '' if spread is None else f' ± {spread:.2g}'
        self.better = {
            'lower': 'lower is better',
            'higher': 'higher is better',
            'zero': 'nearer to zero is better',
        }.get(str(card.get('better')), '')
        self.images = [_Source.of_images(card.get(name)) for name in ('reference', 'train')]
        self.space = _Source.of_space(card.get('space'))
        self.samples = _describe_samples(card)
        self.seed = str(card.get('seed', '-'))
        iteration = _iteration(card)
        self.snapshot = '-' if iteration is None else f'iteration {iteration}'
        self.run = _run_name(card) or ''
        details = card.get('details')
        details = details if isinstance(details, Mapping) else {}
        self.details = ', '.join(f'{name} {_list(value)}' for name, value in details.items())


def _short(value: Any) -> str:
    number = as_float(value)
    return str(value) if number is None else f'{number:.4g}'


def _list(value: Any) -> str:
    return ' '.join(map(_short, value)) if isinstance(value, list) else _short(value)


def _describe_samples(card: Mapping[str, Any]) -> str:
    num = card.get('num_generated')
    if not num:
        return '-'
    words = [str(num), str(card.get('sample_model') or '')]
    if card.get('truncation') is not None:
        words.append(f'truncation {card["truncation"]}')
    return ' '.join(word for word in words if word)
