"""What differs between a bank and the encoder or data set of a run, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from mmagic.registry import MODELS

from .bank_origin import BankOrigin
from .training_view import TrainingView

if TYPE_CHECKING:
    from .prior_bank import PriorBank


def simplify_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Write a config so that two equal ones compare equal and JSON keeps it.

    Args:
        config (Mapping): Config of an encoder.

    Returns:
        dict: The same with lists for tuples, texts for paths, and without ``_scope_``.
    """
    plain = {name: value for name, value in config.items() if name != '_scope_'}
    return json.loads(json.dumps(plain, default=str))


def describe_encoder_change(encoder: Any, origin: BankOrigin) -> str:
    """Say what differs between an encoder and the one that a bank was built with.

    Args:
        encoder (PriorEncoder | Mapping): A built encoder, its ``describe()``, or its config.
        origin (BankOrigin): What the bank was made from.

    Returns:
        str: The difference, '' where there is none.
    """
    if isinstance(encoder, Mapping) and 'type' in encoder:
        if simplify_config(encoder) == origin.encoder_config:
            return ''
        encoder = MODELS.build(dict(encoder))
    if isinstance(encoder, Mapping):
        return _describe_fields(dict(encoder), origin.encoder)
    if encoder.fingerprint() == origin.encoder_fingerprint:
        return ''
    return _describe_fields(encoder.describe(), origin.encoder) or (
        f"its fingerprint is {encoder.fingerprint()[:12]}, the bank's is "
        f'{origin.encoder_fingerprint[:12] or "unknown"}'
    )


def describe_dataset_change(dataset: Any, bank: PriorBank) -> str:
    """Say what a bank lacks for a data set; images that only the bank has do not count.

    Args:
        dataset (Dataset): Built data set, wrapped or not.
        bank (PriorBank): The bank.

    Returns:
        str: The difference, '' where there is none.
    """
    view = dataset if isinstance(dataset, TrainingView) else TrainingView(dataset)
    rows = np.fromiter(map(bank.keys.find, view.keys), dtype=np.int64, count=len(view))
    sizes = view.file_sizes()
    missing = [view.keys[i] for i in np.flatnonzero(rows < 0)]
    gone = [view.keys[i] for i in np.flatnonzero((rows >= 0) & (sizes < 0))]
    stored = bank.file_sizes[np.maximum(rows, 0)]
    # A bank made from arrays does not know the sizes of files.
    resized = (rows >= 0) & (sizes >= 0) & (sizes != stored) & bool(bank.file_sizes.any())
    changed = [view.keys[i] for i in np.flatnonzero(resized)]
    total = len(view)
    problems = [
        _describe_images(missing, total, 'no prior in it'),
        _describe_images(changed, total, 'another file size than when it was built'),
        _describe_images(gone, total, 'no file any more'),
        _describe_pipeline(view.steps, bank.origin.pipeline) if bank.origin.pipeline else '',
    ]
    if view.num_views > bank.num_views:
        problems.append('the pipeline flips images, but it holds no priors of flipped images')
    return '; '.join(filter(None, problems))


def _describe_fields(fields: dict[str, Any], built: dict[str, Any]) -> str:
    names = [name for name in {**built, **fields} if fields.get(name) != built.get(name)]
    return ', '.join(
        f"{name} is {_short(fields.get(name))}, the bank's is {_short(built.get(name))}"
        for name in names
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f'{text[:97]}...'


def _describe_images(keys: list[str], total: int, what: str) -> str:
    if not keys:
        return ''
    first = ', '.join(keys[:3]) + (', ...' if len(keys) > 3 else '')
    return f'{len(keys)} of {total} images {"have" if len(keys) > 1 else "has"} {what} ({first})'


def _describe_pipeline(steps: list[dict[str, Any]], built: list[dict[str, Any]]) -> str:
    for number, (step, other) in enumerate(zip(steps, built, strict=False), start=1):
        if step['type'] != other['type']:
            return f"step {number} of the pipeline is {step['type']}, the bank's is {other['type']}"
        if step != other:
            return (
                f'{step["type"]} (step {number} of the pipeline): {_describe_fields(step, other)}'
            )
    if len(steps) != len(built):
        longer = steps if len(steps) > len(built) else built
        owner = 'pipeline' if longer is steps else "bank's pipeline"
        extra = longer[min(len(steps), len(built))]['type']
        return f'the {owner} has one step more ({extra})'
    return ''
