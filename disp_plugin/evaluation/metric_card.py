"""Metric cards: every number with the protocol that it was measured by."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from disp_plugin.files import write_file

__all__ = [
    'CARDS_FILE',
    'choose_headline',
    'format_cards',
    'format_count',
    'make_card',
    'merge_cards',
    'read_cards',
    'write_cards',
]

CARDS_FILE = 'metric_cards.json'
VERSION = 1

BETTER = {
    'fid': 'lower',
    'kid': 'lower',
    'precision': 'higher',
    'recall': 'higher',
    'density': 'higher',
    'coverage': 'higher',
    'copying': 'zero',
    'fid_floor': None,
    'kid_floor': None,
    'ivom': 'lower',
    'fid_inverted': 'lower',
    'disc_gap': 'zero',
    'disc_gap_in_sd': 'zero',
}
"""Metric -> which values of it are better."""

PARAMETERS = ('k', 'cells', 'queries', 'steps', 'lr')
"""Details of a card that are not results."""

LEAST_FOR_FID = 2048
"""As many images as Inception has features: with fewer, covariances have no full rank, and FID's
bias, which depends on the count, outgrows differences between models (Binkowski et al. 2018)."""


def format_count(num: int) -> str:
    """Write a count as names of metrics do.

    Args:
        num (int): Such as 10000.

    Returns:
        str: '10k'; whole thousands from 10,000 on are shortened.
    """
    return f'{num // 1000}k' if num >= 10000 and num % 1000 == 0 else str(num)


def spell(name: str) -> str:
    """Write the name of a split or space so that the names of numbers can be read again.

    Args:
        name (str): Such as 'my_test photos'.

    Returns:
        str: 'my-test-photos'.
    """
    return re.sub(r'[^A-Za-z0-9.-]+', '-', name)


def make_card(
    metric: str,
    value: float,
    standard_deviation: float | None = None,
    *,
    split: str,
    num_generated: int = 0,
    space: Mapping[str, Any] | None = None,
    reference: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    details: Mapping[str, Any] | None = None,
    **protocol: Any,
) -> dict[str, Any]:
    """Write a number down with its protocol.

    Args:
        metric (str): One of :data:`BETTER`.
        value (float): The number.
        standard_deviation (float | None): How far chance moves it. Defaults to None, unknown.
        split (str): Name of the held-out split.
        num_generated (int): Generated images. Defaults to 0: none were needed.
        space (Mapping | None): From ``FeatureSpace.describe``. Defaults to None.
        reference (Mapping | None): From ``ReferenceSet.describe``. Defaults to None.
        train (Mapping | None): Likewise, the training set. Defaults to None.
        details (Mapping | None): Parameters of the metric, such as ``k``. Defaults to None.
        **protocol: ``seed``, ``sample_model``, ``truncation``, ``snapshot``.

    Returns:
        dict[str, Any]: The card; its ``name`` is the protocol in short, 'fid10k_test_clean'.

    Raises:
        ValueError: The number is not finite.
    """
    if not math.isfinite(value):
        raise ValueError(f'{metric} is {value}: the features are damaged or overflow')
    k = (details or {}).get('k')
    split = spell(split)
    parts = [
        f'{metric}{format_count(num_generated) if num_generated else ""}',
        *([f'k{k}'] if k and metric in ('precision', 'recall') else []),
        split,
        *([spell(space['name'])] if space else []),
    ]
    return {
        'name': '_'.join(parts),
        'value': float(value),
        'standard_deviation': None if standard_deviation is None else float(standard_deviation),
        'better': BETTER[metric],
        'metric': metric,
        'space': dict(space) if space else None,
        'reference': dict(reference) if reference else None,
        'train': dict(train) if train else None,
        'num_generated': num_generated,
        'details': dict(details or {}),
        **protocol,
    }


def read_cards(file: str | Path) -> list[dict[str, Any]]:
    """Read what :func:`write_cards` wrote.

    Args:
        file (str | Path): The file.

    Returns:
        list[dict[str, Any]]: The cards.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a file of cards, or one of a newer version.
    """
    try:
        content = json.loads(Path(file).read_text(encoding='utf-8'))
        version, cards = content['version'], content['cards']
        names = [card['name'] for card in cards]
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, KeyError) as error:
        raise ValueError(
            f'{file} does not hold metric cards ({type(error).__name__}: {error}); move it away, '
            'and evaluate again'
        ) from error
    if version != VERSION or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f'{file} holds metric cards of version {version}, but this is version {VERSION}; '
            'use the disp_plugin that wrote it'
        )
    return cards


def merge_cards(old: Iterable[dict[str, Any]], new: Iterable[dict[str, Any]]) -> list[dict]:
    """Add cards; one of the same name, snapshot and seed replaces the old one.

    Args:
        old (Iterable[dict[str, Any]]): Cards.
        new (Iterable[dict[str, Any]]): Newer cards.

    Returns:
        list[dict]: All, by iteration and name.
    """
    merged = {_identify(card): card for card in (*old, *new)}
    return sorted(merged.values(), key=lambda card: (_iteration(card), card['name']))


def write_cards(file: str | Path, cards: Sequence[dict[str, Any]]) -> None:
    """Add cards to a file, which is written whole or not at all.

    Args:
        file (str | Path): The file; what it holds already is kept.
        cards (Sequence[dict[str, Any]]): The cards.

    Raises:
        ValueError: There is a file that holds no cards.
    """
    old = read_cards(file) if Path(file).is_file() else []
    content = {'version': VERSION, 'cards': merge_cards(old, cards)}
    write_file(file, json.dumps(content, indent=1, allow_nan=False) + '\n')


def choose_headline(cards: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """Choose the number to look at first: FID, but KID where there are too few images for it.

    Args:
        cards (Iterable[dict[str, Any]]): Cards of one snapshot.

    Returns:
        dict[str, Any] | None: Its card; None where neither was measured.
    """
    found: dict[str, dict[str, Any]] = {}
    for card in cards:
        if card['metric'] in ('fid', 'kid'):
            found.setdefault(card['metric'], card)
    fid = found.get('fid')
    if fid is not None and fid['reference'] is not None:
        least = min(fid['num_generated'], fid['reference']['num'])
        if least < LEAST_FOR_FID and 'kid' in found:
            return found['kid']
    return fid or found.get('kid')


def format_cards(cards: Sequence[dict[str, Any]]) -> str:
    """Lay cards out as a table.

    Args:
        cards (Sequence[dict[str, Any]]): The cards.

    Returns:
        str: A line for each: name, value, standard deviation.
    """
    width = max((len(card['name']) for card in cards), default=0)
    lines = []
    for card in cards:
        spread = card['standard_deviation']
        tail = '' if spread is None else f' +- {spread:.3g}'
        lines.append(f'{card["name"]:<{width}}  {card["value"]:.5g}{tail}')
    return '\n'.join(lines)


def _iteration(card: Mapping[str, Any]) -> int:
    snapshot = card.get('snapshot') or {}
    iteration = snapshot.get('iteration')
    return iteration if isinstance(iteration, int) else -1


def _identify(card: Mapping[str, Any]) -> str:
    snapshot, details = card.get('snapshot') or {}, card.get('details') or {}
    protocol = [card.get(key) for key in ('name', 'seed', 'sample_model', 'truncation')]
    protocol += [details.get(key) for key in PARAMETERS]
    where = [(card.get(name) or {}).get('fingerprint') for name in ('reference', 'train', 'space')]
    iteration = snapshot.get('iteration')
    taken_at = snapshot.get('file') if iteration is None else iteration
    return json.dumps([*protocol, *where, snapshot.get('run'), taken_at], sort_keys=True)
