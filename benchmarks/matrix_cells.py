"""What matrix.py trains: the cells of the table, and the config of each."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

METHODS = {
    'unconditional': ('_selfmod', '_unconditional'),
    'per_image': ('_per_image',),
    'per_image_scaled': ('_per_image',),
    'disp': (),
    'disp_any_pair': (),
    'disp_untrained': (),
}
"""Method -> endings of the config beside the given one; none for the given one itself."""

USE_ENCODER = ('disp', 'disp_any_pair', 'disp_untrained')
"""Methods that --encoder multiplies."""

COMPANIONS: dict[str, dict[str, Any]] = {
    'plain': {},
    'diffaugment': {
        'model.discriminator.augmentation': dict(
            type='DiffAugment', policy='color,translation,cutout'
        )
    },
}
"""Companion -> overrides of the config."""


@dataclass(frozen=True)
class Cell:
    """One row of the table.

    Attributes:
        method (str): One of :data:`METHODS`, or a config's file.
        companion (str): Name of the overrides.
        num_images (int | None): Size of the training set; None for all of it.
        encoder (str | None): Name of the encoder; None for the config's own.
    """

    method: str
    companion: str
    num_images: int | None = None
    encoder: str | None = None

    @property
    def name(self) -> str:
        """str: Name of its folder."""
        count = '' if self.num_images is None else f'n{self.num_images}'
        parts = (Path(self.method).stem, self.companion, count, self.encoder)
        return '-'.join(part for part in parts if part)


def list_cells(
    methods: Iterable[str],
    companions: Iterable[str],
    counts: Iterable[int] | None,
    encoders: Iterable[str] | None,
) -> list[Cell]:
    """Multiply the axes; what takes no encoder is not repeated for each.

    Args:
        methods (Iterable[str]): Methods.
        companions (Iterable[str]): Names of companions.
        counts (Iterable[int] | None): Sizes of the training set; None for all of it.
        encoders (Iterable[str] | None): Names of encoders; None for the config's own.

    Returns:
        list[Cell]: The cells, each once.
    """
    axes = product(counts or [None], methods, encoders or [None], companions)
    cells = [
        Cell(method, companion, count, encoder if method in USE_ENCODER else None)
        for count, method, encoder, companion in axes
    ]
    return list(dict.fromkeys(cells))


def check_methods(config: Path, methods: Iterable[str]) -> dict[str, Path]:
    """Find the config of each method.

    Args:
        config (Path): The data set's DISP config.
        methods (Iterable[str]): Methods, or files of configs.

    Returns:
        dict[str, Path]: File by method.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A name is no method, two would share a folder, or one needs another.
    """
    found = {}
    for method in methods:
        if method.endswith('.py'):
            candidates = [Path(method)]
        elif method in METHODS:
            plain = config.stem.removeprefix('disp_')
            candidates = [config.with_name(f'{plain}{end}.py') for end in METHODS[method]]
            candidates = candidates or [config]
        else:
            raise ValueError(
                f'--methods: {method!r} is unknown; known are {", ".join(METHODS)}, and the file '
                'of any config'
            )
        there = [path for path in candidates if path.is_file()]
        if not there:
            names = ' or '.join(map(str, candidates))
            raise FileNotFoundError(
                f'--methods {method}: there is no {names}; give the file of a config in its place'
            )
        found[method] = there[0]
        _check_folder(method, found)
    if 'disp_any_pair' in found and 'disp' not in found:
        raise ValueError(
            '--methods: disp_any_pair samples what disp has trained; name disp beside it'
        )
    return found


def _check_folder(method: str, others: Iterable[str]) -> None:
    same = [o for o in others if o != method and Path(o).stem == Path(method).stem]
    if same:
        raise ValueError(
            f'--methods: {same[0]} and {method} would share the folder and the row '
            f'{Path(method).stem}; rename one file'
        )


def read_companions(items: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Read names of companions and ``NAME=dict(...)``.

    Args:
        items (Iterable[str]): What the command line says.

    Returns:
        dict[str, dict[str, Any]]: Dotted path -> value, by name.

    Raises:
        ValueError: A name is unknown, or its overrides are no dict.
    """
    companions = {}
    for item in items:
        name, equals, text = item.partition('=')
        if not equals and name not in COMPANIONS:
            raise ValueError(
                f'--companions: {name!r} is unknown; known are {", ".join(COMPANIONS)}, or give '
                f'{name}="dict(model=dict(...))", what it changes in a config'
            )
        value = read_value(text) if equals else COMPANIONS[name]
        if not isinstance(value, Mapping):
            raise ValueError(f'--companions {name} must be a dict, but is {text!r}')
        companions[check_name('--companions', name)] = flatten(value)
    return companions


def read_encoders(items: Iterable[str] | None) -> dict[str, dict[str, Any]] | None:
    """Read ``NAME=FILE`` and ``NAME=dict(type=...)``.

    Args:
        items (Iterable[str] | None): What the command line says.

    Returns:
        dict[str, dict[str, Any]] | None: Config of each encoder by name; None without any.

    Raises:
        ValueError: An item is neither, or its name looks like a number of images.
    """
    if items is None:
        return None
    encoders = {}
    for item in items:
        name, equals, text = item.partition('=')
        if not equals or not text:
            raise ValueError(f'--encoder takes NAME=FILE or NAME="dict(type=...)", not {item!r}')
        if re.fullmatch(r'n\d+', name):
            raise ValueError(
                f'--encoder: {name} would be taken for --num-images {name[1:]} in the names of '
                'folders; choose another name'
            )
        is_dict = text.lstrip().startswith(('dict(', '{'))
        value = read_value(text) if is_dict else dict(type='CheckpointEncoder', checkpoint=text)
        if not isinstance(value, Mapping) or 'type' not in value:
            raise ValueError(f'--encoder {name}: {text!r} is no dict with a type')
        encoders[check_name('--encoder', name)] = dict(value)
    return encoders


def read_value(text: str) -> Any:
    """Read JSON or a Python literal in which ``dict(...)`` is allowed.

    Args:
        text (str): What the command line says.

    Returns:
        Any: The value.

    Raises:
        ValueError: It is neither.
    """
    from disp_plugin.literals import read_literal

    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    try:
        return read_literal(ast.parse(text.strip(), mode='eval').body)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f'{text!r} is neither JSON nor a literal such as dict(a=1)') from error


def check_name(flag: str, name: str) -> str:
    """Refuse a name that cannot name a folder or a column."""
    if not re.fullmatch(r'\w[\w.]*', name):
        raise ValueError(f'{flag}: a name has letters, digits, _ and dots only, but is {name!r}')
    return name


def flatten(overrides: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Write nested overrides as dotted paths; what has a type is replaced as a whole.

    Args:
        overrides (Mapping[str, Any]): Such as ``dict(model=dict(loss='wasserstein'))``.
        prefix (str): Path of the mapping. Defaults to ''.

    Returns:
        dict[str, Any]: Such as ``{'model.loss': 'wasserstein'}``.
    """
    flat: dict[str, Any] = {}
    for name, value in overrides.items():
        path = f'{prefix}{name}'
        if isinstance(value, Mapping) and value and 'type' not in value:
            flat.update(flatten(value, f'{path}.'))
        else:
            flat[path] = value
    return flat


def innermost(cfg: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Find the training set inside of its wrappers.

    Args:
        cfg (Mapping[str, Any]): A config.

    Returns:
        tuple[str, Mapping[str, Any]]: Its dotted path, and itself.
    """
    path, dataset = 'train_dataloader.dataset', cfg['train_dataloader']['dataset']
    while 'dataset' in dataset:
        path, dataset = f'{path}.dataset', dataset['dataset']
    return path, dataset


def make_untrained(encoder: Mapping[str, Any]) -> dict[str, Any]:
    """State the encoder with random weights, the same in every run.

    Args:
        encoder (Mapping[str, Any]): Config of an encoder.

    Returns:
        dict[str, Any]: Its control.

    Raises:
        ValueError: Its class has no ``untrained``.
    """
    from disp_plugin.cli.options import accepted_fields, find_class

    if 'untrained' not in (accepted_fields(find_class(encoder['type'])) or ()):
        raise ValueError(f'disp_untrained: {encoder["type"]} cannot be left untrained')
    return {**encoder, 'untrained': True, 'seed': 0}


def choose_subset(keys: Iterable[str], num: int) -> list[str]:
    """Choose training images; a smaller choice is a part of every larger one.

    Args:
        keys (Iterable[str]): Image keys.
        num (int): How many.

    Returns:
        list[str]: The first of them in the order of their SHA-256, sorted.

    Raises:
        ValueError: There are not so many.
    """
    ranked = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())
    if not 2 <= num <= len(ranked):
        raise ValueError(f'--num-images must be from 2 to {len(ranked)}, but is {num}')
    return sorted(ranked[:num])


def write_config(cfg: Any) -> str:
    """Write a resolved config as a file that inherits nothing.

    Args:
        cfg (Config): The config.

    Returns:
        str: Its text; equal configs have equal texts.
    """
    parts = {**cfg.to_dict(), 'sized_by_data': False}
    return ''.join(f'{name} = {value!r}\n' for name, value in sorted(parts.items()))
