"""The rows of a comparison: methods x techniques x encoders x numbers of training images."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from disp_plugin.cli.options import parse_value

BASELINES = {
    'unconditional': 'unconditional',
    'per_image': 'per_image',
    'per_image_scaled': 'per_image',
    'ssgan': 'ssgan',
    'self_conditioned': 'self_conditioned',
    'logo': 'logo',
}
"""Method without priors of an encoder -> its file in configs/_base_/methods/."""

DISP_METHODS = {'disp': None, 'disp_any_pair': None, 'disp_untrained': None, 'icgan': 'icgan'}
"""Method with priors, which --encoder multiplies -> its file in configs/_base_/methods/, if any."""

Overrides = dict[str, object]
"""A nested part of a config."""


@dataclass(frozen=True)
class Cell:
    """One row of the table.

    Args:
        method (str): One of :data:`BASELINES` or :data:`DISP_METHODS`, or the file of a config.
        technique (str): Its name.
        num_images (int | None): Size of the training set. Defaults to None: all of it.
        encoder (str | None): Name of the encoder. Defaults to None: the config's own.
    """

    method: str
    technique: str
    num_images: int | None = None
    encoder: str | None = None

    @property
    def name(self) -> str:
        """str: Name of its folder."""
        count = self.num_images and f'n{self.num_images}'
        parts = (Path(self.method).stem, self.technique, count, self.encoder)
        return '-'.join(part for part in parts if part)

    @property
    def label(self) -> str:
        """str: What the table calls it."""
        count = self.num_images and f'{self.num_images} images'
        parts = (Path(self.method).stem, self.technique, count, self.encoder)
        return ', '.join(part for part in parts if part)


def list_cells(
    methods: Iterable[str],
    techniques: Iterable[str],
    counts: Iterable[int] | None,
    encoders: Iterable[str] | None,
) -> list[Cell]:
    """Multiply the axes; a method that takes no encoder stands there once, not once for each."""
    no_count: list[int | None] = [None]
    no_encoder: list[str | None] = [None]
    axes = product(counts or no_count, methods, encoders or no_encoder, techniques)
    cells = [
        Cell(method, technique, count, encoder if method in DISP_METHODS else None)
        for count, method, encoder, technique in axes
    ]
    return list(dict.fromkeys(cells))


def check_methods(methods: Iterable[str]) -> None:
    """Refuse unknown methods and files, and two that would share a folder.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A name is no method, two would share a folder, or one needs another.
    """
    seen: dict[str, str] = {}
    for method in methods:
        if method.endswith('.py'):
            if not Path(method).is_file():
                raise FileNotFoundError(f'--methods: there is no config {method}')
        elif method not in (*BASELINES, *DISP_METHODS):
            raise ValueError(
                f'--methods: {method!r} is unknown; known are '
                f'{", ".join((*BASELINES, *DISP_METHODS))}, and the file of any config'
            )
        other = seen.setdefault(Path(method).stem, method)
        if other != method:
            raise ValueError(
                f'--methods: {other} and {method} would share the folder and the row '
                f'{Path(method).stem}; rename one file'
            )
    if 'disp_any_pair' in seen and 'disp' not in seen:
        raise ValueError(
            '--methods: disp_any_pair samples what disp has trained; name disp beside it'
        )


def read_techniques(items: Iterable[str]) -> dict[str, list[str] | Overrides]:
    """Read the techniques of the command line.

    Args:
        items (Iterable[str]): ``plain``, names from configs/_base_/techniques/, joined by ``+``
            where one row has several, or ``NAME=dict(...)``, what a technique changes in a config.

    Raises:
        ValueError: What follows ``=`` is no dict.
    """
    techniques: dict[str, list[str] | Overrides] = {}
    for item in items:
        name, equals, text = item.partition('=')
        _check_name('--techniques', name.replace('+', '_'))
        if equals:
            techniques[name] = _read_dict(f'--techniques {name}', text)
        else:
            techniques[name] = [] if name == 'plain' else name.split('+')
    return techniques


def read_encoders(items: Iterable[str] | None) -> dict[str, Overrides]:
    """Read encoders, ``NAME=FILE`` or ``NAME=dict(type=...)``, as configs by name.

    Raises:
        ValueError: An item is neither, or its name looks like a number of images.
    """
    encoders: dict[str, Overrides] = {}
    for item in items or ():
        name, equals, text = item.partition('=')
        if not equals or not text:
            raise ValueError(f'--encoder takes NAME=FILE or NAME="dict(type=...)", not {item!r}')
        if re.fullmatch(r'n\d+', name):
            raise ValueError(
                f'--encoder: {name} would be taken for --num-images {name[1:]} in the names of '
                'folders; choose another name'
            )
        _check_name('--encoder', name)
        if text.lstrip().startswith(('dict(', '{')):
            encoders[name] = _read_dict(f'--encoder {name}', text)
        else:
            encoders[name] = dict(type='CheckpointEncoder', checkpoint=os.path.expanduser(text))
        if 'type' not in encoders[name]:
            raise ValueError(f'--encoder {name}: {text!r} is no dict with a type')
    return encoders


def _read_dict(what: str, text: str) -> Overrides:
    value = parse_value(text)
    if not isinstance(value, Mapping):
        raise ValueError(f'{what} must be a dict, but is {text!r}')
    return dict(value)


def _check_name(flag: str, name: str) -> None:
    if not re.fullmatch(r'\w[\w.]*', name):
        raise ValueError(f'{flag}: a name has letters, digits, _ and dots only, but is {name!r}')


def flatten(part: Mapping[str, object], prefix: str = '') -> dict[str, object]:
    """Write a nested dict as dotted paths; what has a type stays whole."""
    flat: dict[str, object] = {}
    for name, value in part.items():
        if isinstance(value, Mapping) and value and 'type' not in value:
            flat.update(flatten(value, f'{prefix}{name}.'))
        else:
            flat[f'{prefix}{name}'] = value
    return flat


def rank_keys(keys: Iterable[str]) -> list[str]:
    """Order image keys at random, by their SHA-256: the same in every run, on every machine."""
    return sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())


def choose_subset(keys: list[str], num: int) -> list[str]:
    """Choose training images; a smaller choice is a part of every larger one.

    Raises:
        ValueError: There are not as many.
    """
    if not 2 <= num <= len(keys):
        raise ValueError(f'--num-images must be from 2 to {len(keys)}, but is {num}')
    return sorted(rank_keys(keys)[:num])
