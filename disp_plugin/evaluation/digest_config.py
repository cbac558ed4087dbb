"""A run's config in a dozen lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmagic.registry import DATASETS

from disp_plugin.priors import view_config

__all__ = ['digest_config']


def digest_config(
    cfg: Mapping[str, Any], iteration: int | None = None, seed: Any = None
) -> list[tuple[str, str]]:
    """Say what was trained.

    Args:
        cfg (Mapping[str, Any]): The run's config; whatever is missing from it is left out.
        iteration (int | None): How far the snapshot is. Defaults to None, unknown.
        seed (Any): Seed of the run. Defaults to None: that of the config.

    Returns:
        list[tuple[str, str]]: What, and what it is.
    """
    model = _mapping(cfg.get('model'))
    generator = _mapping(model.get('generator'))
    loader = _mapping(cfg.get('train_dataloader'))
    seed = _mapping(cfg.get('randomness')).get('seed') if seed is None else seed
    size = generator.get('output_scale') or generator.get('out_size') or cfg.get('image_size')
    lines = {
        'training images': _describe_data(loader.get('dataset')),
        'GAN': _describe(model, ('loss', 'discriminator_steps')),
        'image size': f'{size} x {size}' if size else None,
        'generator': _describe(generator, ('base_channels', 'noise_size', 'style_channels')),
        'prior': _describe_prior(model),
        'encoder': _describe(_mapping(cfg.get('encoder'))),
        'sampler of new priors': _describe(_mapping(model.get('sampler'))),
        'batch size': loader.get('batch_size'),
        'iterations': _describe_length(cfg, iteration),
        'moving average of G': _describe(_mapping(model.get('ema_config'))),
        'seed': seed,
    }
    return [(name, str(text)) for name, text in lines.items() if text not in (None, '')]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _describe(part: Mapping[str, Any], names: tuple[str, ...] | None = None) -> str:
    """Write a dict to build as its type and its plain fields, or those of them that are named."""
    kind = str(part.get('type', ''))
    fields = [
        f'{name} {value}'
        for name, value in part.items()
        if name != 'type' and str(name)[:1] != '_' and (names is None or name in names)
        if isinstance(value, (str, int, float))
    ]
    return kind + (f' ({", ".join(fields)})' if fields and kind else '')


def _describe_prior(model: Mapping[str, Any]) -> str | None:
    if 'prior_dim' not in model:
        return None
    if not model['prior_dim']:
        return 'none (a baseline)'
    length = model.get('prior_length')
    told = f'{model["prior_dim"]} numbers, normalized by {model.get("prior_norm", "none")}'
    return told if length is None else f'{told} to the length {length}'


def _describe_length(cfg: Mapping[str, Any], iteration: int | None) -> str | None:
    total = _mapping(cfg.get('train_cfg')).get('max_iters')
    if iteration is None:
        return None if total is None else f'{total} planned'
    return str(iteration) if total is None else f'{iteration} of {total}'


def _describe_data(dataset: Any) -> str | None:
    if not isinstance(dataset, Mapping):
        return None
    try:
        plain = view_config(dataset, pipeline=[])
    except (KeyError, TypeError):
        return None
    where = ', '.join(str(plain[name]) for name in ('data_root', 'ann_file') if plain.get(name))
    try:
        return f'{len(DATASETS.build(plain)):,} in {where}'
    except (OSError, ValueError, KeyError, TypeError):
        return f'{where} (not found here)'
