"""Documented arguments and defaults are those of the signature."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / 'disp_plugin'
FILES = sorted(PACKAGE.rglob('*.py'))


def documented(node):
    """Argument -> its text, from the Args section of a Google docstring; None without one."""
    text = ast.get_docstring(node) or ''
    section = re.search(r'^Args:\n(.*?)(?=^\S|\Z)', text, re.MULTILINE | re.DOTALL)
    if section is None:
        return None
    entries = re.split(r'^    (?=\S)', section.group(1), flags=re.MULTILINE)[1:]
    pairs = (re.match(r'\*{0,2}(\w+)[^:]*:\s+(.*)', entry, re.DOTALL) for entry in entries)
    return {pair.group(1): ' '.join(pair.group(2).split()) for pair in pairs if pair}


def signature(function):
    """Argument -> its default as code, None without one; a starred one has no default."""
    args = function.args
    plain = args.posonlyargs + args.args
    pairs = dict(zip([a.arg for a in reversed(plain)], reversed(args.defaults), strict=False))
    pairs |= {a.arg: d for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True)}
    names = [*plain, *args.kwonlyargs, *filter(None, (args.vararg, args.kwarg))]
    return {a.arg: pairs.get(a.arg) for a in names if a.arg != 'self'}


def agrees(said, default):
    """Tell whether the text after "Defaults to" names the default of the signature."""
    code, said = ast.unparse(default), said.replace('`', '')
    try:
        value = ast.literal_eval(default)
    except ValueError:
        return True  # a constant by its name; the text may say its value
    number = re.match(r'-?\d[\d_.,]*(e-?\d+)?', said)
    if value is None:  # the text may say what None stands for
        return True
    if number and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(number.group().rstrip('.,').replace(',', '')) == value
    return said.startswith((code, repr(value), str(value))) and said != ''


def public_things(tree):
    """(name, node with the docstring, function, whether all arguments must be documented)."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith('_'):
            yield node.name, node, node, False
        elif isinstance(node, ast.ClassDef) and not node.name.startswith('_'):
            registered = any('register_module' in ast.unparse(d) for d in node.decorator_list)
            for function in node.body:
                if not isinstance(function, ast.FunctionDef):
                    continue
                if function.name == '__init__':
                    yield node.name, node, function, registered
                elif not function.name.startswith('_'):
                    yield f'{node.name}.{function.name}', function, function, False


def problems(tree):
    for name, node, function, must_be_whole in public_things(tree):
        arguments, texts = signature(function), documented(node)
        is_open = function.args.kwarg is not None  # a base class documents the others
        if must_be_whole:
            starred = {a.arg for a in (function.args.vararg, function.args.kwarg) if a}
            missing = set(arguments) - set(texts or {}) - starred
            if missing:
                yield f'{name} does not document {sorted(missing)}'
        for argument, text in (texts or {}).items():
            said = re.search(r'Defaults to\s+(.*)', text)
            if argument not in arguments:
                if not is_open:
                    yield f'{name} documents {argument}, which it does not take'
            elif arguments[argument] is None:
                if said:
                    yield f'{name}: {argument} has no default, but one is documented'
            elif said and not agrees(said.group(1), arguments[argument]):
                default = ast.unparse(arguments[argument])
                yield f'{name}: {argument}={default}, but documented: {said.group()}'


@pytest.mark.parametrize('file', FILES, ids=[str(f.relative_to(PACKAGE)) for f in FILES])
def test_documented_arguments_are_those_of_the_signature(file):
    assert list(problems(ast.parse(file.read_text(encoding='utf-8')))) == []


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ('a (int): A.\n        b (int): B. Defaults to 2.', None),
        ('b (int): B. Defaults to 3.', 'b=2, but documented'),
        ('b (int): B.\n        c (int): C.', 'documents c'),
        ('a (int): A. Defaults to 1.', 'a has no default'),
    ],
)
def test_the_check_finds_each_kind_of_problem(text, problem):
    code = f'def f(a, b=2):\n    """Do.\n\n    Args:\n        {text}\n    """\n'
    found = list(problems(ast.parse(code)))
    assert (problem is None and found == []) or problem in found[0]
    code = (
        '@X.register_module()\nclass C:\n    """Be."""\n\n    def __init__(self, a):\n        ...'
    )
    assert list(problems(ast.parse(code))) == ["C does not document ['a']"]
