"""Short names of settings: where each one is read, and a check that none stands unread on top."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ['SHORT_NAMES', 'check_top_level', 'find_dataset', 'find_places', 'get_value']

DATASET = 'train_dataloader.dataset'

SHORT_NAMES: dict[str, tuple[str, ...]] = {
    'data_root': (f'{DATASET}.data_root',),
    'ann_file': (f'{DATASET}.ann_file',),
    'bank_file': (f'{DATASET}.bank_file',),
    'flip': (f'{DATASET}.flip',),
    'image_size': ('model.image_size', f'{DATASET}.image_size'),
    'batch_size': ('train_dataloader.batch_size',),
    'max_iters': ('train_cfg.max_iters',),
    'prior_dim': ('model.prior_dim',),
    'prior_norm': ('model.prior_norm',),
    'prior_length': ('model.prior_length',),
}
"""Short name of ``--cfg-options`` -> dotted paths where a config holds the setting."""


def get_value(cfg: Mapping[str, Any], path: str) -> Any:
    """Follow a dotted path, which may count through lists; None where it ends early."""
    node: Any = getattr(cfg, '_cfg_dict', cfg)
    for name in path.split('.'):
        if isinstance(node, (list, tuple)) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        elif isinstance(node, Mapping):
            node = node.get(name)
        else:
            return None
    return node


def find_dataset(cfg: Mapping[str, Any], loader: str = 'train_dataloader') -> str | None:
    """Find the dotted path of a loader's data set below its wrappers; None without one."""
    path = f'{loader}.dataset'
    while isinstance(get_value(cfg, f'{path}.dataset'), Mapping):
        path += '.dataset'
    return path if isinstance(get_value(cfg, path), Mapping) else None


def find_places(cfg: Mapping[str, Any], name: str) -> list[str]:
    """List the dotted paths where a config holds the setting of a short name.

    A wrapped data set is looked into, and ``bank_file`` is that of ``LoadPrior`` where a pipeline
    has one.
    """
    dataset = find_dataset(cfg) or DATASET
    places = [path.replace(DATASET, dataset) for path in SHORT_NAMES[name]]
    if name == 'bank_file':
        for index, step in enumerate(get_value(cfg, f'{dataset}.pipeline') or ()):
            if isinstance(step, Mapping) and step.get('type') == 'LoadPrior':
                places = [f'{dataset}.pipeline.{index}.bank_file']
    return places


def check_top_level(cfg: Mapping[str, Any]) -> None:
    """Raise if a short name stands at the top of a config, where nothing reads it.

    mmagic's own configs repeat such values at their top: a value that stands somewhere below, too,
    is accepted, unless the run's own file writes it.

    Args:
        cfg (Config): The config of a run.

    Raises:
        ValueError: The message names the place to write it.
    """
    fields = getattr(cfg, '_cfg_dict', cfg)
    own_names = _read_names(getattr(cfg, 'filename', None))
    for name in SHORT_NAMES:
        if name not in fields:
            continue
        places = find_places(fields, name)
        read = [get_value(fields, place) for place in places]
        if name not in own_names:
            read += _values_below(fields, name)
        if not any(value == fields[name] for value in read):
            raise ValueError(
                f'{name}={fields[name]!r} at the top of the config has no effect. Write '
                + ' and '.join(_as_config(place, fields[name]) for place in places)
                + f', or give --cfg-options {name}=... to tools/train.py'
            )


def _read_names(file: str | None) -> set[str]:
    """List the names that a file with a base assigns at its top."""
    if not file or not Path(file).is_file():
        return set()
    tree = ast.parse(Path(file).read_text(encoding='utf-8'))
    targets = [t for node in tree.body if isinstance(node, ast.Assign) for t in node.targets]
    names = {target.id for target in targets if isinstance(target, ast.Name)}
    return names if '_base_' in names else set()


def _values_below(node: Any, name: str) -> Iterator[Any]:
    """Yield the values of a field in all nested dicts."""
    items = node.values() if isinstance(node, Mapping) else node
    for item in items:
        if isinstance(item, Mapping):
            if name in item:
                yield item[name]
            yield from _values_below(item, name)
        elif isinstance(item, (list, tuple)):
            yield from _values_below(item, name)


def _as_config(place: str, value: Any) -> str:
    """Write a dotted path as nested dicts."""
    if '.pipeline.' in place:
        return f'LoadPrior(bank_file={value!r}) in the pipeline of the training data set'
    top, *middle, last = place.split('.')
    inner = ''.join(f'{name}=dict(' for name in middle)
    return f'{top} = dict({inner}{last}={value!r}{")" * len(middle)})'
