"""Values as configs write them, read without executing anything."""

import ast
from typing import Any

__all__ = ['read_literal']


def read_literal(node: ast.expr) -> Any:
    """Give the value of a literal expression in which ``dict(...)`` is allowed.

    Args:
        node (ast.expr): The parsed expression.

    Returns:
        Any: Numbers, strings, None, booleans, and lists, tuples, sets and dicts of them.

    Raises:
        ValueError: Anything else stands there.
    """
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=items):
            return [read_literal(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(read_literal(item) for item in items)
        case ast.Set(elts=items):
            return {read_literal(item) for item in items}
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
