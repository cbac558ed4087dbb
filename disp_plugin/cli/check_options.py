"""Find typing errors in ``--cfg-options`` before anything is built."""

import difflib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ['accepted_fields', 'check_options', 'find_class', 'nearest', 'registered_names']

OPEN_DICTS = ('default_hooks', 'env_cfg')
"""Dicts of a config whose keys are free names."""

EXTRA_FIELDS = ('custom_imports', 'find_unused_parameters', 'model_wrapper_cfg', 'sync_bn')
"""Top-level fields that mmengine's Runner reads beside its own arguments."""


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Give the known name that looks most like a mistyped one.

    Args:
        name (str): What was typed.
        known (Iterable[str]): Names that exist.
        cutoff (float): Least similarity, in [0, 1]. Defaults to 0.6.

    Returns:
        str | None: The best match; None where none is similar enough.
    """
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return matches[0] if matches else None


def registered_names() -> dict[str, type]:
    """List every class that a config's ``type`` can name, over all registries.

    Returns:
        dict[str, type]: Registered name -> class or function.
    """
    import mmagic.registry as mmagic_registry
    import mmengine.registry as mmengine_registry
    from mmengine.registry import Registry

    found: dict[str, type] = {}
    for module in (mmengine_registry, mmagic_registry):
        for value in vars(module).values():
            if isinstance(value, Registry):
                found.update(value.module_dict)
    return found


def find_class(name: Any) -> type | None:
    """Look a config's ``type`` up in all registries.

    Args:
        name (Any): Registered name, with or without a scope (``'mmagic.BigGAN'``), or a class.

    Returns:
        type | None: The class; None where nothing of that name is registered.
    """
    if not isinstance(name, str):
        return name if isinstance(name, type) else None
    names = registered_names()
    return names.get(name, names.get(name.rsplit('.', 1)[-1]))


def accepted_fields(cls: Any) -> set[str] | None:
    """List the keyword arguments that a class or function takes.

    Where a constructor passes ``**kwargs`` on, those of its base classes count too.

    Args:
        cls (Any): Class or function.

    Returns:
        set[str] | None: Names; None where any keyword is taken.
    """
    makers = [c.__dict__.get('__init__') for c in cls.__mro__] if inspect.isclass(cls) else [cls]
    fields: set[str] = set()
    for maker in makers:
        if maker is None or maker is object.__init__:
            continue
        try:
            parameters = inspect.signature(maker).parameters.values()
        except (TypeError, ValueError):
            return None
        fields |= {
            p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        }
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return fields - {'self'}
    return None


def check_options(cfg: Mapping[str, Any], options: Mapping[str, Any], file: str = '') -> None:
    """Check that every dotted path of ``--cfg-options`` names a field of the config.

    A new field is accepted where the class that its dict describes has an argument of that name,
    where mmengine's runner reads it, and in dicts whose keys are free.

    Args:
        cfg (Mapping[str, Any]): The config before the options are merged.
        options (Mapping[str, Any]): Dotted path -> value, as mmengine's ``DictAction`` gives.
        file (str): Name of the config for messages. Defaults to ''.

    Raises:
        ValueError: A path leads nowhere; the message names the nearest field there is.
    """
    for key in options:
        node: Any = cfg
        parts = key.split('.')
        for depth, part in enumerate(parts):
            here = '.'.join(parts[:depth])
            if _is_list(node):
                node = _list_item(node, part, key, here, file)
            elif isinstance(node, Mapping):
                if part not in node:
                    _check_new_field(node, part, key, here, options, file)
                    break
                node = node[part]
            elif node is None:
                break
            else:
                raise ValueError(
                    f'--cfg-options {key}: in {file or "the config"}, {here} is {node!r}, '
                    'which has no fields of its own'
                )


def _is_list(node: Any) -> bool:
    return isinstance(node, Sequence) and not isinstance(node, str)


def _list_item(node: Sequence[Any], part: str, key: str, here: str, file: str) -> Any:
    if part.isdigit() and int(part) < len(node):
        return node[int(part)]
    raise ValueError(
        f'--cfg-options {key}: in {file or "the config"}, {here} is a list of {len(node)}, '
        f'so that {part!r} must be a number from 0 to {len(node) - 1}'
    )


def _check_new_field(
    node: Mapping[str, Any], part: str, key: str, here: str, options: Mapping[str, Any], file: str
) -> None:
    """Accept or refuse a field that the config's dict ``here`` does not have yet."""
    if part in ('type', '_delete_', '_scope_') or here in OPEN_DICTS:
        return
    allowed = _allowed_fields(node, here, options.get(f'{here}.type', node.get('type')))
    if allowed is None:
        # Nobody knows what this dict may hold: only a near miss of what it has is an error.
        if nearest(part, node, cutoff=0.75) is None:
            return
    elif part in allowed:
        return
    known = set(node) | (allowed or set())
    best = nearest(part, known)
    parent = f'{here}.' if here else ''
    hint = (
        f'did you mean {parent}{best}?'
        if best
        else f'known here: {", ".join(sorted(map(str, known)))}'
    )
    raise ValueError(
        f'--cfg-options {key}: {file or "the config"} has no field {parent}{part}; {hint}'
    )


def _allowed_fields(node: Mapping[str, Any], here: str, kind: Any) -> set[str] | None:
    """Name the fields that the dict at ``here`` may have; None where that is not known."""
    from mmengine.optim import AmpOptimWrapper, OptimWrapper
    from mmengine.runner import IterBasedTrainLoop, Runner
    from torch.utils.data import DataLoader

    if here == '':
        return (accepted_fields(Runner) or set()) | set(EXTRA_FIELDS)
    if here.endswith('_dataloader'):
        return accepted_fields(DataLoader)
    if kind is not None:
        cls = find_class(kind)
        return None if cls is None else accepted_fields(cls)
    if here == 'train_cfg':
        return (accepted_fields(IterBasedTrainLoop) or set()) | {'by_epoch'}
    if here.startswith('optim_wrapper.') and here.count('.') == 1:
        names = [accepted_fields(cls) or set() for cls in (OptimWrapper, AmpOptimWrapper)]
        return names[0] | names[1] | {'paramwise_cfg', 'loss_scale', 'dtype'}
    return None
