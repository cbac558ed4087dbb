"""Configs and values as text, read without executing anything."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.config import ConfigDict

__all__ = ['parse_config_text', 'read_literal']


def read_literal(node: ast.expr) -> Any:
    """Evaluate a literal expression in which ``dict(...)`` is allowed, without executing it.

    Raises:
        ValueError: It is no number, string, None, boolean, list, tuple, set or dict of them.
    """
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            kinds = {ast.List: list, ast.Tuple: tuple, ast.Set: set}
            return kinds[type(node)](map(read_literal, items))
        case ast.Dict(keys=keys, values=values) if all(key is not None for key in keys):
            pairs = zip(keys, values, strict=True)
            return {read_literal(key): read_literal(value) for key, value in pairs if key}
        case ast.Call(func=ast.Name(id='dict'), args=[ast.Dict() as mapping], keywords=[]):
            return read_literal(mapping)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.Call(func=ast.Name(id='dict'), args=[], keywords=keywords) if all(
            keyword.arg is not None for keyword in keywords
        ):
            return {str(keyword.arg): read_literal(keyword.value) for keyword in keywords}
        case _:
            raise ValueError(
                f'line {node.lineno} of the config is no literal: {ast.unparse(node)[:80]!r}'
            )


def parse_config_text(text: str) -> ConfigDict:
    """Read a config as mmengine writes it into checkpoints, without executing it.

    Only literals, containers and ``dict(name=value)`` are understood; that is all that mmengine
    writes, and nothing else can do harm.

    Raises:
        ValueError: Anything but one ``name = value`` after the other stands there.
    """
    try:
        body = ast.parse(text).body
    except SyntaxError as error:
        raise ValueError(f'the config has a syntax error: {error}') from error
    fields: dict[str, Any] = {}
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                fields[name] = read_literal(value)
            case _:
                raise ValueError(
                    f'line {statement.lineno} of the config is no plain "name = value": '
                    f'{ast.unparse(statement)[:80]!r}'
                )
    from mmengine.config import ConfigDict  # here, since --help and most errors do not need it

    return ConfigDict(fields)
