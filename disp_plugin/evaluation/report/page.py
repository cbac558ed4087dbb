"""A run on one page that needs nothing but itself."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from mmagic.models.base_models import BaseGAN
from mmagic.registry import DATASETS

from disp_plugin import __version__
from disp_plugin.applications.load_gan import load_gan
from disp_plugin.files import check_out, write_file
from disp_plugin.weights import NonFiniteError

from ..held_out import find_image_size, find_training_images
from ..metric_card import TRAIN_SPLIT, MetricCard
from ..run import Run, RunLog, find_run, read_log
from ..spaces import Config
from .curves import draw_curves, group_series
from .findings import Finding, Series, judge_run
from .pictures import show_grid, show_nearest, show_walks

__all__ = ['digest_config', 'make_report', 'write_report']

TEMPLATE = Path(__file__).with_name('report.html.j2')
CHOOSING_SPLIT = 'val'
"""Validations during training, by which the best snapshot is chosen."""

_EXPECTED = (
    *(OSError, ValueError, LookupError, TypeError, RuntimeError),
    *(AttributeError, AssertionError, ImportError, ArithmeticError),
)
"""What a damaged or incomplete run raises."""

Content = TypeVar('Content')


@dataclass(frozen=True)
class Attempt(Generic[Content]):
    """A part of the page; or None, and why it is missing."""

    content: Content | None
    reason: str = ''


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
        Path: The file. It is written whole or not at all.

    Raises:
        FileNotFoundError: The folder or the checkpoint does not exist, or the folder is no run's.
        ValueError: The file cannot be written there, or weights are NaN or infinite.
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

    Arguments and errors are those of :func:`write_report`.
    """
    import jinja2

    run = find_run(work_dir, checkpoint)
    log = RunLog({}, []) if run.elsewhere else read_log(work_dir, run.start)
    loaded = _attempt(lambda: _load(run))

    def show(make: Callable[[BaseGAN, Config], Content]) -> Attempt[Content]:
        """Make pictures of the GAN, where it could be loaded."""
        if loaded.content is None:
            return Attempt(None, loaded.reason)
        gan, cfg = loaded.content
        return _attempt(lambda: make(gan, cfg))

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(TEMPLATE.read_text(encoding='utf-8')).render(
        version=__version__,
        run=run,
        seed=seed,
        digest=_attempt(lambda: digest_config(run.cfg, run.iteration, run.seed)),
        grid=show(lambda gan, cfg: show_grid(gan, seed)),
        nearest=show(lambda gan, cfg: show_nearest(gan, cfg, seed)),
        walks=show(lambda gan, cfg: show_walks(gan, seed)),
        list_details=_list_details,
        **_show_numbers(run, log),
    )


def _show_numbers(run: Run, log: RunLog) -> dict[str, object]:
    """Make the parts of the page that rest on cards and logs."""
    own, foreign = _divide_cards(run)
    cards, others, measured = _choose_cards(own, run.iteration)
    drawable = _leave_out_mixed(own)
    history = _gather_history(drawable, log)
    until = math.inf if run.iteration is None else run.iteration
    past = {
        name: series._replace(points=[point for point in series.points if point[0] <= until])
        for name, series in history.items()
    }
    # judged by images that did not choose the snapshot, where there are such
    unseen = [card for card in cards if card.protocol.split != TRAIN_SPLIT]
    reported = [card for card in unseen if card.protocol.split != CHOOSING_SPLIT]
    verdict = judge_run(reported or unseen or cards, past, measured)
    problems = run.problems + log.problems
    if unseen and not reported and run.best is not None and run.best == run.iteration:
        problems.append(
            'All numbers of this snapshot are of the images that chose it, which flatters it; '
            'tools/evaluate.py --held-out measures it on others.'
        )
    grouped: dict[tuple[str, str], list[Finding]] = {}
    for finding in verdict.findings:
        grouped.setdefault((finding.severity, finding.subject), []).append(finding)
    protocols = [card.protocol for card in (*cards, *others, *foreign)]
    sources = [source for p in protocols for source in (p.reference, p.train, p.space) if source]
    return {
        'problems': problems,
        'verdict': verdict,
        'findings': list(grouped.values()),
        'measured': measured,
        'curves': [
            (curves, _attempt(functools.partial(draw_curves, curves, run.best)))
            for curves in group_series(log.series, history, drawable)
        ],
        'cards': cards,
        'other_cards': others + foreign,
        'sources': {source.fingerprint[:12]: source for source in sources},
    }


def _load(run: Run) -> tuple[BaseGAN, Config]:
    if run.checkpoint is None:
        raise ValueError('The folder holds no checkpoint.')
    return load_gan(run.checkpoint)


def _attempt(make: Callable[[], Content]) -> Attempt[Content]:
    try:
        return Attempt(make())
    except NonFiniteError:
        raise
    except _EXPECTED as error:
        return Attempt(None, str(error) or type(error).__name__)


def _divide_cards(run: Run) -> tuple[list[MetricCard], list[MetricCard]]:
    """Tell the cards of this run from those of others that were written beside them."""
    names = ('', run.work_dir.resolve().name)
    own = [card for card in run.cards if card.snapshot.run in names]
    if not own:
        return run.cards, []  # the folder was renamed
    return own, [card for card in run.cards if card.snapshot.run not in names]


def _choose_cards(
    cards: Sequence[MetricCard], wanted: int | None
) -> tuple[list[MetricCard], list[MetricCard], str]:
    """Divide the cards into those of the reported snapshot and the others.

    If the snapshot has none, the newest cards stand for it; the text says when they were measured.
    """
    iterations = [card.snapshot.iteration for card in cards]
    newest = max((i for i in iterations if i is not None), default=None)
    taken = wanted if wanted in iterations else newest
    chosen = [card for card in cards if card.snapshot.iteration == taken]
    others = [card for card in cards if card.snapshot.iteration != taken]
    measured = ''
    if chosen and taken != wanted:
        measured = 'at an unknown iteration' if taken is None else f'at iteration {taken}'
    chosen.sort(key=lambda card: (card.protocol.rank, card.protocol.space_name))
    return chosen, others, measured


def _leave_out_mixed(cards: Sequence[MetricCard]) -> list[MetricCard]:
    """Leave out the numbers of held-out sets that share a name: no curve can hold both."""
    marks: dict[str, set[str]] = {}
    for card in cards:
        reference = card.protocol.reference
        marks.setdefault(card.name, set()).add(reference.fingerprint if reference else '')
    return [card for card in cards if len(marks[card.name]) == 1]


def _gather_history(cards: Sequence[MetricCard], log: RunLog) -> dict[str, Series]:
    """Merge logged validations with numbers that were measured after training."""
    values: dict[str, dict[int, float]] = {}
    for card in cards:
        points = values.setdefault(card.name, {})
        if card.snapshot.iteration is not None:
            points[card.snapshot.iteration] = card.value
    for name, points in values.items():
        points.update(log.series.get(name, ()))
    protocols = {card.name: card.protocol for card in cards}
    return {name: Series(protocols[name], sorted(values[name].items())) for name in values}


def _list_details(card: MetricCard) -> str:
    """List the parameters of a number and what was found beside it."""
    protocol = card.protocol
    k = {} if protocol.k is None else {'k': protocol.k}
    parts = []
    for name, value in {**k, **protocol.parameters, **card.details}.items():
        values = value if isinstance(value, list) else [value]
        parts.append(' '.join([name, *(f'{each:.4g}' for each in values)]))
    return ', '.join([*parts, *protocol.notes])


def digest_config(
    cfg: Config, iteration: int | None = None, seed: int | None = None
) -> list[tuple[str, str]]:
    """Say in a dozen lines what was trained.

    Args:
        cfg (Config): The run's config; whatever is missing from it is left out.
        iteration (int | None): How far the snapshot is. Defaults to None, unknown.
        seed (int | None): Seed of the run. Defaults to None: that of the config.

    Returns:
        list[tuple[str, str]]: What, and what it is.
    """
    model, loader = cfg.get('model') or {}, cfg.get('train_dataloader') or {}
    generator = model.get('generator') or {}
    seed = (cfg.get('randomness') or {}).get('seed') if seed is None else seed
    size = find_image_size(cfg)
    lines = {
        'training images': _attempt(lambda: _describe_data(cfg)).content,
        'GAN': _describe(model, ('loss', 'discriminator_steps')),
        'image size': f'{size} x {size}' if size else None,
        'generator': _describe(generator, ('base_channels', 'noise_size', 'style_channels')),
        'prior': _describe_prior(model),
        'encoder': _describe(cfg.get('encoder')),
        'sampler of new priors': _describe(model.get('sampler')),
        'batch size': loader.get('batch_size'),
        'iterations': _describe_length(cfg, iteration),
        'EMA generator': _describe(model.get('ema_config')),
        'seed': seed,
    }
    return [(name, str(text)) for name, text in lines.items() if text not in (None, '')]


def _describe(part: Config | None, names: tuple[str, ...] | None = None) -> str:
    """Write a dict to build as its type and its plain fields, or those of them that are named."""
    part = part or {}
    kind = str(part.get('type', ''))
    fields = [
        f'{name} {value}'
        for name, value in part.items()
        if name != 'type' and name[:1] != '_' and (names is None or name in names)
        if isinstance(value, (str, int, float))
    ]
    return kind + (f' ({", ".join(fields)})' if fields and kind else '')


def _describe_prior(model: Config) -> str | None:
    if 'prior_dim' not in model:
        return None
    if not model['prior_dim']:
        return 'none (a baseline)'
    length = model.get('prior_length')
    told = f'{model["prior_dim"]} numbers, normalized by {model.get("prior_norm", "none")}'
    return told if length is None else f'{told} to the length {length}'


def _describe_length(cfg: Config, iteration: int | None) -> str | None:
    total = (cfg.get('train_cfg') or {}).get('max_iters')
    if iteration is None:
        return None if total is None else f'{total} planned'
    return str(iteration) if total is None else f'{iteration} of {total}'


def _describe_data(cfg: Config) -> str:
    images = find_training_images(cfg)
    where = ', '.join(str(images[name]) for name in ('data_root', 'ann_file') if images.get(name))
    try:
        return f'{len(DATASETS.build(images)):,} in {where}'
    except (OSError, ValueError):
        return f'{where} (not found here)'
