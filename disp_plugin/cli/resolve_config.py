"""One place for each decision: what a top-level field of a config says holds wherever it is used.

mmengine substitutes names when it reads a config file, before ``--cfg-options`` are merged and
before a file that inherits it is read, so that ``data_root='photos'`` in either would change a
field that nothing reads any more. Here the new value is written to every place that carried the old
one.
"""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from disp_plugin.cli.check_options import (
    accepted_fields,
    check_options,
    find_class,
    nearest,
)
from disp_plugin.upstream import patch_config_reading

__all__ = ['SHORTCUTS', 'load_config', 'resolve_config']

SHORTCUTS: dict[str, tuple[str, ...]] = {
    'data_root': ('data_root',),
    'bank_file': ('bank_file',),
    'encoder': ('encoder', 'prior'),
    'prior_dim': ('prior_dim',),
    'image_size': (
        'image_size',
        'output_scale',
        'input_scale',
        'out_size',
        'in_size',
        'scale',
        'crop_size',
    ),
    'batch_size': ('batch_size',),
    'max_iters': ('max_iters',),
    'prior_norm': ('prior_norm',),
    'vis_backends': ('vis_backends',),
}
"""Top-level field -> names of the nested fields that follow it."""


REPLACED = ('encoder', 'model.sampler')
"""Parts of which nothing is kept when their type changes: another type has other arguments."""


def load_config(file: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Read a config file, merge ``--cfg-options`` into it and resolve its shortcuts.

    Args:
        file (str | Path): The config file.
        options (Mapping[str, Any] | None): Dotted path -> value, as ``OptionsAction``
            gives. Defaults to None.

    Returns:
        Config: The config that a runner can be built from.

    Raises:
        FileNotFoundError: There is no such file; the message names the nearest one beside it.
        ValueError: The file has a syntax error, uses a name that it does not define, inherits what
            it cannot, or an option names a field that does not exist.
    """
    path = Path(file)
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.glob('*.py')) if path.parent.is_dir() else []
        best = nearest(path.name, beside, cutoff=0.4)
        hint = f'; did you mean {path.parent / best}?' if best else ''
        raise FileNotFoundError(f'config file {path} does not exist{hint}')
    patch_config_reading()  # bases such as mmagic:: need pkg_resources, which may be gone
    try:
        cfg = Config.fromfile(str(path))
    except SyntaxError as error:
        where = f'line {error.lineno}' if error.lineno else 'an unknown line'
        text = f': {error.text.strip()}' if error.text else ''
        raise ValueError(f'config file {path}: {error.msg} in {where}{text}') from error
    except NameError as error:
        raise ValueError(f'config file {path}: {error}') from error
    except TypeError as error:
        if 'cannot inherit from base' not in str(error):
            raise
        raise ValueError(f'config file {path}: {error}') from error
    given = _carry_from_bases(cfg, path)
    return _resolve(cfg, dict(options or {}), given)


def resolve_config(cfg: Config, options: Mapping[str, Any] | None = None) -> Config:
    """Merge options into a config so that each shortcut reaches every place that follows it.

    A place follows a top-level field of :data:`SHORTCUTS` where it has one of the names given
    there and the same value as that field before the merge: a validation set with a folder of its
    own keeps it. Places that an option names itself keep what that option says. Sizes count
    as equal whether written ``64`` or ``(64, 64)``. An ``encoder.type`` that differs from the
    config's replaces the encoder as a whole, because the arguments of another type would not fit;
    so does ``encoder=dict(...)``; and likewise for ``model.sampler``.

    A config with ``sized_by_data = True`` gets the image size, batch size and number of
    iterations that suit the images found in its ``data_root``, for those not given as options;
    what was chosen is printed.

    Args:
        cfg (Config): A config as read from its file; changed in place.
        options (Mapping[str, Any] | None): Dotted path -> value. Defaults to None.

    Returns:
        Config: The same object.

    Raises:
        ValueError: An option names a field that does not exist.
        FileNotFoundError: ``sized_by_data`` is set and the folder does not exist.
    """
    return _resolve(cfg, dict(options or {}), set())


def _resolve(cfg: Config, options: dict[str, Any], given: set[str]) -> Config:
    """Resolve; fields in ``given`` were settled by the config file and are not chosen anew."""
    options = copy.deepcopy(options)
    check_options(cfg._cfg_dict, options, file=Path(cfg.filename).name if cfg.filename else '')
    _merge(cfg, options)
    if cfg.get('sized_by_data', False):
        from disp_plugin.cli.choose_schedule import choose_for_config

        given = given | set(options)
        _merge(cfg, choose_for_config(cfg, given), kept=given)
    return cfg


def _carry_from_bases(cfg: Config, path: Path) -> set[str]:
    """Carry what a file says at top level to places that still hold what one of its bases says.

    Returns the fields that it, or a base, changed of a base that is sized by data.
    """
    given: set[str] = set()
    for base in _read_bases(path):
        _drop_inherited(cfg, base)
        changed = _carry(cfg, {name: base[name] for name in SHORTCUTS if name in base}, set())
        if base.get('sized_by_data', False):
            given |= changed
    return given


def _drop_inherited(cfg: Config, base: Config) -> None:
    """Take out arguments that a part got from a base whose part is of another type.

    mmengine merges ``sampler=dict(type='GMMPriorSampler')`` into the base's sampler, arguments and
    all, where a file does not say ``_delete_=True``.
    """
    for name in REPLACED:
        part, former = _find(cfg, name), _find(base, name)
        if not part or not former or part.get('type') == former.get('type'):
            continue
        cls = find_class(part.get('type', ''))
        accepted = accepted_fields(cls) if cls is not None else None
        if accepted is None:
            continue
        for field in set(former) - {'type'} - accepted:
            if part.get(field) == former[field]:
                part.pop(field, None)


def _find(cfg: Config, path: str) -> Any:
    """Follow a dotted path; None where it ends early."""
    node: Any = cfg
    for name in path.split('.'):
        node = node.get(name) if isinstance(node, Mapping) or node is cfg else None
    return node


def _read_bases(path: Path) -> Iterator[Config]:
    """Read the configs that a file inherits, nearest first; mmagic's have no such fields."""
    for name in Config._get_base_files(str(path)):
        file, scope = Config._get_cfg_path(name, str(path))
        if scope in (None, 'disp_plugin'):
            yield Config.fromfile(file)
            yield from _read_bases(Path(file))


def _merge(cfg: Config, options: dict[str, Any], kept: set[str] | None = None) -> None:
    """Merge options, then carry every changed shortcut to the places that follow it."""
    for part in REPLACED:
        old = _find(cfg, part)
        new_type = options.get(f'{part}.type')
        if new_type is not None and new_type != (old or {}).get('type'):
            options[f'{part}._delete_'] = True
        if isinstance(options.get(part), Mapping) and old is not None:
            options[part] = {**options[part], '_delete_': True}
    before = {name: copy.deepcopy(cfg[name]) for name in SHORTCUTS if name in cfg}
    cfg.merge_from_dict(options)
    _carry(cfg, before, set(options) | (kept or set()))


def _carry(cfg: Config, before: dict[str, Any], named: set[str]) -> set[str]:
    """Write each shortcut that is not what it was to the places that follow it; name them."""
    changed = {
        name: old
        for name, old in before.items()
        if name in cfg and _plain(old) != _plain(cfg[name])
    }
    followers = {alias: name for name in changed for alias in SHORTCUTS[name]}
    for name, value in cfg._cfg_dict.items():
        if name not in SHORTCUTS:
            _follow(value, name, followers, changed, cfg, named)
    return set(changed)


def _follow(
    node: Any,
    path: str,
    followers: dict[str, str],
    old: dict[str, Any],
    cfg: Config,
    named: set[str],
) -> None:
    """Write new values of shortcuts below one node of the config."""
    if isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            _follow(item, f'{path}.{index}', followers, old, cfg, named)
    if not isinstance(node, dict):
        return
    for key in list(node):
        here = f'{path}.{key}'
        name = followers.get(key)
        if name is not None and here not in named and _same(node[key], old[name], name):
            node[key] = _shaped_as(node[key], copy.deepcopy(cfg[name]), name)
        else:
            _follow(node[key], here, followers, old, cfg, named)


def _same(value: Any, old: Any, name: str) -> bool:
    """Tell whether a nested value is the shortcut's old one."""
    value, old = _plain(value), _plain(old)
    return value == old or (name == 'image_size' and value == [old, old])


def _shaped_as(value: Any, new: Any, name: str) -> Any:
    """Write a new size as a pair where the old one was a pair."""
    if name == 'image_size' and isinstance(value, (list, tuple)):
        return type(value)((new, new))
    return new


def _plain(value: Any) -> Any:
    """Turn config types into plain ones, tuples into lists, so that they compare by content."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
