"""Options that tools share; ``--cfg-options KEY=VALUE``, and typing errors in them."""

import argparse
import ast
import difflib
import inspect
import json
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from disp_plugin.literals import read_literal

__all__ = [
    'CfgOptionsAction',
    'OptionsAction',
    'accepted_fields',
    'add_shared',
    'check_options',
    'find_class',
    'find_owners',
    'make_parser',
    'nearest',
    'parse_value',
    'read_option',
    'read_part',
    'registered_names',
    'stated_types',
]

OPEN_DICTS = ('default_hooks', 'env_cfg')
"""Dicts of a config whose keys are free names."""

TEXT_FIELDS = ('data_root', 'ann_file', 'bank_file')
"""Fields of data sets that are text even where no class is known to take them."""

EXTRA_FIELDS = ('custom_imports', 'find_unused_parameters', 'model_wrapper_cfg', 'sync_bn')
"""Top-level fields that mmengine's Runner reads beside its own arguments."""


def parse_value(text: str) -> object:
    """Read the value of an option as a config would write it; nothing is executed.

    What is no literal is read as mmengine reads it: words are strings, and commas separate the
    items of a list.

    Args:
        text (str): A number, a word, a list, JSON or ``dict(type='TimmEncoder', ...)``.

    Raises:
        ValueError: Brackets enclose neither a list nor a literal.
    """
    text = text.strip()
    if re.fullmatch(r'\d+(_\d+)+', text):
        return text  # a folder such as 2024_05, which Python would take for a number
    if text.startswith(('(', '[', '{', '"', "'", 'dict(')):
        with suppress(SyntaxError, ValueError):
            return read_literal(ast.parse(text, mode='eval').body)
        with suppress(ValueError):
            return json.loads(text)
    from mmengine.config import DictAction  # here, since --help and most errors do not need it

    try:
        return DictAction._parse_iterable(text)
    except (AssertionError, RecursionError) as error:
        raise ValueError(f'{text!r} is no value that a config could hold') from error


class Unread(str):
    """Text of an option that is read once the field that it goes to is known."""


class OptionsAction(argparse.Action):
    """Collect ``KEY=VALUE`` of the command line in a dict; usable more than once."""

    read: Callable[[str], object] = staticmethod(parse_value)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        """Add options to the dict; report what has no ``=``."""
        options = dict(getattr(namespace, self.dest) or {})
        for item in values or ():
            key, equals, value = str(item).partition('=')
            if not equals or not key:
                parser.error(f'{option_string} takes KEY=VALUE, but got {item!r}')
            try:
                options[key] = self.read(value)
            except ValueError as error:
                parser.error(f'{option_string} {key}: {error}')
        setattr(namespace, self.dest, options)


class CfgOptionsAction(OptionsAction):
    """Collect options of a config; :func:`read_option` reads their text."""

    read = Unread


class Parser(argparse.ArgumentParser):
    """A parser that tells an error in one line, and expands ``~`` in every argument."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, and the nearest option to an unknown one; exit with status 2."""
        unknown = re.match(r'unrecognized arguments: (--[\w-]+)', message)
        best = nearest(unknown[1], self._option_string_actions) if unknown else None
        hint = f'; did you mean {best}?' if best else ''
        hint = hint or f'; {self.prog} --help lists what it takes'
        print(f'error: {message}{hint}', file=sys.stderr)
        sys.exit(2)

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def,override]
        """Parse arguments as argparse does."""
        found, rest = super().parse_known_args(args, namespace)
        for name, value in vars(found).items():
            setattr(found, name, expand_home(value))
        return found, rest


def expand_home(value: object) -> Any:
    """Replace a leading ``~`` by the home folder, in a string or in a container of strings."""
    match value:
        case str() if value.startswith('~'):
            return os.path.expanduser(value)
        case list() | tuple():
            return type(value)(map(expand_home, value))
        case dict():
            return {key: expand_home(item) for key, item in value.items()}
        case _:
            return value


SHARED: dict[str, dict[str, Any]] = {
    'checkpoint': dict(help='checkpoint, or work folder: its last one; it holds its config'),
    '--config': dict(help='config to use in place of the one in the checkpoint'),
    '--cfg-options': dict(
        nargs='+',
        action=CfgOptionsAction,
        metavar='KEY=VALUE',
        help='fields of the config to change: data_root=photos model.prior_norm=l2 key="[a,b]"',
    ),
    '--white-level': dict(
        type=float, help='what is white in 16-bit images, such as 4095 (default: the full range)'
    ),
    '--held-out': dict(metavar='FOLDER', help='folder or manifest of images to measure by'),
    '--space': dict(
        nargs='+', action=OptionsAction, metavar='NAME=', help='as in tools/evaluate.py'
    ),
    '--encoder': dict(nargs='+', action=CfgOptionsAction, metavar='KEY=VALUE'),
    '--sample-model': dict(
        choices=['ema', 'orig'],
        help='EMA generator, or the generator as it was trained (default: ema if there is)',
    ),
    '--overwrite': dict(
        action='store_true', help='remove the numbered samples of an earlier command from --out'
    ),
    '--seed': dict(type=int, default=0, help='of all random draws (default: 0)'),
    '--batch-size': dict(type=int, default=32, help='images at a time (default: 32)'),
    '--device': dict(help='such as cpu or cuda:0 (default: a GPU if there is one)'),
    '--launcher': dict(choices=['none', 'pytorch', 'slurm', 'mpi'], default='none'),
    '--local-rank': dict(type=int, default=0, help='set by older launchers'),
    '--debug': dict(action='store_true', help='print the traceback of any error'),
}
"""Arguments that several tools have."""


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Start the parser of a tool, whose docstring describes it."""
    return Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_shared(parser: argparse._ActionsContainer, *names: str, **helps: str) -> None:
    """Add arguments of :data:`SHARED` to a tool.

    Args:
        parser (argparse._ActionsContainer): The tool's parser, or a group of it.
        *names (str): Such as ``'--device'``.
        **helps (str): Help of the tool's own by destination: ``batch_size='of a forward'``.
    """
    for name in names:
        spellings = [name, *(['--local_rank'] if name == '--local-rank' else [])]
        own = helps.get(name.lstrip('-').replace('-', '_'))
        parser.add_argument(*spellings, **{**SHARED[name], **({'help': own} if own else {})})


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Find the known name that looks most like a mistyped one; None if none is similar enough."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return matches[0] if matches else None


def registered_names() -> dict[str, type]:
    """List every class that a config's ``type`` can name, over all registries."""
    import mmagic.registry as mmagic_registry
    import mmengine.registry as mmengine_registry
    from mmengine.registry import Registry

    found: dict[str, type] = {}
    for module in (mmengine_registry, mmagic_registry):
        for value in vars(module).values():
            if isinstance(value, Registry):
                found.update(value.module_dict)
    return found


def find_class(name: object) -> type | None:
    """Find a config's ``type`` in all registries, with or without a scope; None if unknown."""
    if not isinstance(name, str):
        return name if isinstance(name, type) else None
    names = registered_names()
    return names.get(name, names.get(name.rsplit('.', 1)[-1]))


def accepted_fields(cls: Callable[..., object] | None, is_open: bool = False) -> set[str] | None:
    """List the keyword arguments that a class or function takes; None if it takes any keyword.

    Where a constructor passes ``**kwargs`` on, those of its base classes count too.

    Args:
        cls (Callable | None): The class or function.
        is_open (bool): List what is stated of one that takes any keyword, too. Defaults to False.
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
    return fields - {'self'} if is_open else None


def stated_types(cls: Callable[..., object], field: str) -> set[object]:
    """List the types that a class or function states for an argument; empty if it states none."""
    makers = [c.__dict__.get('__init__') for c in cls.__mro__] if inspect.isclass(cls) else [cls]
    for maker in makers:
        try:
            parameter = inspect.signature(maker, eval_str=True).parameters[field]  # type: ignore
        except (TypeError, ValueError, NameError, AttributeError, KeyError):
            continue
        if parameter.annotation in (parameter.empty, Any):
            return set()
        is_union = typing.get_origin(parameter.annotation) in (typing.Union, types.UnionType)
        members = typing.get_args(parameter.annotation) if is_union else (parameter.annotation,)
        found = {typing.get_origin(member) or member for member in members}
        return found | ({types.NoneType} if parameter.default is None else set())
    return set()


def read_option(
    cfg: Mapping[str, object],
    path: str,
    value: object,
    kind: object = None,
    flag: str = '--cfg-options',
) -> object:
    """Read the text of an option as the type that its field has.

    Where the class that takes the field states a string or a path, the text is taken as it is, so
    that ``data_root=100`` is a folder. A whole number may be written as 1e5.

    Args:
        cfg (Mapping[str, object]): The config that the option is for.
        path (str): Dotted path of the field.
        value (object): :class:`Unread` text; any other value is returned as it is.
        kind (object): The ``type`` that another option gives the field's dict. Defaults to None.
        flag (str): The option's name for messages. Defaults to '--cfg-options'.

    Raises:
        ValueError: Brackets enclose neither a list nor a literal.
    """
    if not isinstance(value, Unread):
        return value
    here, _, field = path.rpartition('.')
    owners = find_owners(_follow(cfg, here) or {}, here, kind) or []
    stated = set().union(*(stated_types(owner, field) for owner in owners))
    is_text = bool(stated) and stated <= {str, Path, os.PathLike, types.NoneType}
    text = str(value)
    if (is_text or (not owners and field in TEXT_FIELDS)) and text.strip()[:1] not in ('"', "'"):
        is_none = text.strip() == 'None' and (types.NoneType in stated or not stated)
        return None if is_none else os.path.expanduser(text)
    try:
        parsed = expand_home(parse_value(text))
    except ValueError as error:
        raise ValueError(f'{flag} {path}: {error}') from error
    if int in stated and float not in stated and isinstance(parsed, float) and parsed % 1 == 0:
        return int(parsed)
    return parsed


def read_part(options: Mapping[str, object], flag: str) -> dict[str, object]:
    """Read ``KEY=VALUE`` of one part of a config by the class that its ``type`` names.

    Args:
        options (Mapping[str, object]): Name of a field -> text of the option ``flag``.
        flag (str): Such as '--encoder'.

    Raises:
        ValueError: Brackets enclose neither a list nor a literal.
    """
    part = flag.lstrip('-')
    kind = str(options.get('type'))
    return {
        name: read_option({}, f'{part}.{name}', value, kind, flag)
        for name, value in options.items()
    }


def _follow(node: object, path: str) -> Any:
    for name in path.split('.') if path else ():
        if isinstance(node, (list, tuple)) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        else:
            node = node.get(name) if isinstance(node, Mapping) else None
    return node


def check_options(
    cfg: Mapping[str, object],
    options: Mapping[str, object],
    file: str = '',
    known: Collection[str] = (),
) -> None:
    """Check that every dotted path of ``--cfg-options`` names a field of the config.

    A new field is accepted where the class that its dict describes has an argument of that name,
    where mmengine's runner reads it, and in dicts whose keys are free.

    Args:
        cfg (Mapping[str, object]): The config before the options are merged.
        options (Mapping[str, object]): Dotted path -> value.
        file (str): Name of the config for messages. Defaults to ''.
        known (Collection[str]): Short names, to be suggested too. Defaults to ().

    Raises:
        ValueError: A path leads nowhere; the message names the nearest field there is.
    """
    for key in options:
        node: object = cfg
        parts = key.split('.')
        for depth, part in enumerate(parts):
            here = '.'.join(parts[:depth])
            if isinstance(node, Sequence) and not isinstance(node, str):
                node = _list_item(node, part, key, here, file)
            elif isinstance(node, Mapping):
                if part not in node:
                    _check_new_field(node, part, key, here, options, file, known)
                    break
                node = node[part]
            elif node is None:
                break
            else:
                raise ValueError(
                    f'--cfg-options {key}: in {file or "the config"}, {here} is {node!r}, '
                    'which has no fields of its own'
                )


def _list_item(node: Sequence[object], part: str, key: str, here: str, file: str) -> object:
    if part.isdigit() and int(part) < len(node):
        return node[int(part)]
    raise ValueError(
        f'--cfg-options {key}: in {file or "the config"}, {here} is a list of {len(node)}, '
        f'so that {part!r} must be a number from 0 to {len(node) - 1}'
    )


def _check_new_field(
    node: Mapping[str, object],
    part: str,
    key: str,
    here: str,
    options: Mapping[str, object],
    file: str,
    short_names: Collection[str],
) -> None:
    """Accept or refuse a field that the config's dict ``here`` does not have yet."""
    if part in ('type', '_delete_', '_scope_') or here in OPEN_DICTS:
        return
    allowed = _allowed_fields(node, here, options.get(f'{here}.type') or node.get('type'))
    if allowed is None:
        # Nobody knows what this dict may hold: only a near miss of what it has is an error.
        if nearest(part, node, cutoff=0.75) is None:
            return
    elif part in allowed:
        return
    known = set(node) | (allowed or set()) | (set() if here else set(short_names))
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


def _allowed_fields(node: Mapping[str, object], here: str, kind: object) -> set[str] | None:
    """Name the fields that the dict at ``here`` may have; None where that is not known."""
    owners = find_owners(node, here, kind)
    if owners is None:
        return None
    accepted = [accepted_fields(owner) for owner in owners]
    fields = set().union(*(names or () for names in accepted))
    if here == '':
        return fields | set(EXTRA_FIELDS)
    if here == 'train_cfg' and kind is None:
        return fields | {'by_epoch'}
    if _is_wrapper(here):
        fields.add('paramwise_cfg')
    return None if None in accepted else fields


def _is_wrapper(here: str) -> bool:
    return here.startswith('optim_wrapper.') and here.count('.') == 1


def find_owners(node: Mapping[str, object], here: str, kind: object = None) -> list[Any] | None:
    """List the classes that take the fields of a config's dict; None where that is not known.

    Args:
        node (Mapping[str, object]): The dict.
        here (str): Its dotted path; '' is the whole config.
        kind (object): Its ``type``. Defaults to None: as the dict says.
    """
    from mmengine.optim import AmpOptimWrapper, OptimWrapper
    from mmengine.runner import IterBasedTrainLoop, Runner, set_random_seed
    from torch.utils.data import DataLoader

    kind = node.get('type') if kind is None else kind
    if here == '':
        return [Runner]
    if here.endswith('_dataloader'):
        return [DataLoader]
    if kind is not None:
        cls = find_class(kind)
        return None if cls is None else [cls]
    if here in ('train_cfg', 'randomness'):
        return [IterBasedTrainLoop if here == 'train_cfg' else set_random_seed]
    return [OptimWrapper, AmpOptimWrapper] if _is_wrapper(here) else None
