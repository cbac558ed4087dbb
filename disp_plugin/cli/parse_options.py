"""``--cfg-options KEY=VALUE ...``, with values as they are written in configs."""

import argparse
import ast
import re
from collections.abc import Sequence
from typing import Any

from mmengine.config import DictAction

from disp_plugin.cli.read_literal import read_literal

__all__ = ['OptionsAction', 'parse_value']


def parse_value(text: str) -> Any:
    """Read the value of an option.

    Args:
        text (str): A number, a word, a list or what else a config may hold:
            ``encoder=dict(type='TimmEncoder', model='resnet18')``. Nothing is executed.

    Returns:
        Any: The value. What is no literal is read as mmengine reads it: words are strings, and
        commas separate the items of a list.

    Raises:
        ValueError: Brackets that enclose neither a list nor a literal.
    """
    text = text.strip()
    if re.fullmatch(r'\d+(_\d+)+', text):
        return text  # a folder such as 2024_05, which Python would take for a number
    if text.startswith(('(', '[', '{', '"', "'", 'dict(')):
        try:
            return read_literal(ast.parse(text, mode='eval').body)
        except (SyntaxError, ValueError):
            pass
    try:
        return DictAction._parse_iterable(text)
    except (AssertionError, RecursionError) as error:
        raise ValueError(f'{text!r} is no value that a config could hold') from error


class OptionsAction(argparse.Action):
    """Collect ``KEY=VALUE`` of the command line in a dict; usable more than once."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the options.

        Args:
            parser (argparse.ArgumentParser): The parser, which reports what has no ``=``.
            namespace (argparse.Namespace): Where the dict is.
            values (str | Sequence | None): What the command line says.
            option_string (str | None): Not used.
        """
        options = dict(getattr(namespace, self.dest) or {})
        for item in values or ():
            key, equals, value = str(item).partition('=')
            if not equals or not key:
                parser.error(f'{option_string} takes KEY=VALUE, but got {item!r}')
            try:
                options[key] = parse_value(value)
            except ValueError as error:
                parser.error(f'{option_string} {key}: {error}')
        setattr(namespace, self.dest, options)
