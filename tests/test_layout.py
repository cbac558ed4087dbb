"""The tree is the data's way: imports go up only, names and documentation agree with the code."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / 'disp_plugin'

# Each may import those before it, and itself.
ORDER = (
    'whole_file',
    'progress',
    'upstream',
    'datasets',
    'encoders',
    'priors',
    'models',
    'samplers',
    'techniques',
    'hooks',
    'register',
    'running',
    'resolve_config',
    'applications',
    'evaluation',
    'doctor',
    '__main__',
)
SUFFIXES = {'encoders': ('Encoder',), 'samplers': ('Sampler',), 'hooks': ('Hook', 'Loop')}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
FILES = sorted(PACKAGE.rglob('*.py'))
NAMES = [str(file.relative_to(PACKAGE)) for file in FILES]


def parse(file):
    return ast.parse(file.read_text(encoding='utf-8'), filename=str(file))


def room_of(file):
    return file.relative_to(PACKAGE).parts[0].removesuffix('.py')


def imported_rooms(file):
    """Rooms of this package that a file imports, anywhere in it, but for type checking."""
    parents = file.relative_to(ROOT).parent.parts
    tree = parse(file)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.unparse(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(parents[: len(parents) - node.level + 1]) if node.level else []
            module = '.'.join([*base, *filter(None, [node.module])])
            modules = [f'{module}.{alias.name}' for alias in node.names]
        else:
            continue
        for module in modules:
            parts = module.split('.')
            if parts[0] == 'disp_plugin' and len(parts) > 1 and parts[1] in ORDER:
                yield parts[1]


@pytest.mark.parametrize('file', FILES, ids=NAMES)
def test_imports_go_up_only(file):
    room = room_of(file)
    if room == '__init__':
        assert set(imported_rooms(file)) <= {'upstream'}  # within base(), not at import
        return
    below = set(ORDER[ORDER.index(room) + 1 :])
    assert not below & set(imported_rooms(file)), f'{room} imports from below'


def test_the_import_check_sees_every_form_of_import(tmp_path, monkeypatch):
    folder = tmp_path / 'disp_plugin' / 'models'
    folder.mkdir(parents=True)
    file = folder / 'x.py'
    monkeypatch.setattr(sys.modules[__name__], 'ROOT', tmp_path)
    for text, room in {
        'import disp_plugin.hooks.y': 'hooks',
        'from disp_plugin.hooks import y': 'hooks',
        'from disp_plugin import hooks': 'hooks',
        'from ..hooks import y': 'hooks',
        'from .. import hooks': 'hooks',
        'from . import y': 'models',
        'def f():\n    from ..hooks.y import z': 'hooks',
    }.items():
        file.write_text(text)
        assert list(imported_rooms(file)) == [room], text


def test_every_room_is_on_the_map():
    rooms = {path.name for path in PACKAGE.iterdir() if (path / '__init__.py').is_file()}
    assert rooms <= set(ORDER)
    text = (PACKAGE / '__init__.py').read_text(encoding='utf-8')
    assert {room for room in rooms if f'    {room}/' not in text} == set()


def test_there_is_no_room_for_odds_and_ends():
    odd = {'utils', 'util', 'common', 'helpers', 'helper', 'misc'}
    assert [name for name in NAMES if odd & set(re.split(r'[/.]', name))] == []


@pytest.mark.parametrize('file', FILES, ids=NAMES)
def test_files_and_functions_fit_a_reader(file):
    assert len(file.read_text(encoding='utf-8').splitlines()) <= MAX_FILE_LINES
    long = {}
    for node in ast.walk(parse(file)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            length = node.end_lineno - first.lineno + 1
            if length > MAX_FUNCTION_LINES:
                long[node.name] = length
    assert not long


def registered_classes(file):
    for node in parse(file).body:
        if isinstance(node, ast.ClassDef) and any(
            'register_module' in ast.unparse(decorator) for decorator in node.decorator_list
        ):
            yield node.name


def snake_case(name):
    name = re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', name)
    return re.sub(r'(?<=[A-Z])(?=[A-Z][a-z])', '_', name).lower()


@pytest.mark.parametrize('file', FILES, ids=NAMES)
def test_a_file_is_named_for_its_registered_class(file):
    names = list(registered_classes(file))
    if not names:
        return
    words = file.stem.split('_')
    left = {name: snake_case(name).replace('_', '') for name in names}
    assert any(all(word in name for word in words) for name in left.values()), names
    suffixes = SUFFIXES.get(room_of(file))
    if suffixes:
        assert all(name.endswith(suffixes) for name in names), names


def documented_arguments(text):
    """Argument -> its text, from the Args section of a Google docstring; None without one."""
    match = re.search(r'^Args:\n(.*?)(?=^\S|\Z)', text or '', re.MULTILINE | re.DOTALL)
    if match is None:
        return None
    entries = re.split(r'^    (?=\S)', match.group(1), flags=re.MULTILINE)[1:]
    found = {}
    for entry in entries:
        head = re.match(r'(\*{0,2}\w+)(?: \((.*?)\))?:\s', entry, re.DOTALL)
        assert head, f'no "name (type): text" in {entry.strip()[:60]!r}'
        found[head.group(1).lstrip('*')] = ' '.join(entry.split())
    return found


def signature(function, drop_self):
    """Argument -> its default as an ast node, or None without one; and the starred ones."""
    args = function.args
    plain = args.posonlyargs + args.args
    defaults = [None] * (len(plain) - len(args.defaults)) + list(args.defaults)
    pairs = dict(zip([a.arg for a in plain], defaults, strict=True))
    pairs |= dict(zip([a.arg for a in args.kwonlyargs], args.kw_defaults, strict=True))
    if drop_self:
        pairs.pop(next(iter(pairs)))
    starred = {a.arg for a in (args.vararg, args.kwarg) if a}
    return pairs, starred


def same_default(text, node):
    """Tell whether 'Defaults to X' in a docstring says what the signature says."""
    match = re.search(r'(?:Defaults to|By default)\s+(.*)', text)
    if match is None:
        return False
    said = match.group(1).replace('``', '')
    code = ast.unparse(node)
    if said.startswith('By default') or said.startswith(code):
        return True
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return True  # a constant by its name; only the value could be said
    if value is None:
        return True  # None stands for what the text says
    number = re.match(r'-?[\d_.,]*\d(?:e-?\d+)?', said)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and number:
        return float(number.group().replace(',', '').replace('_', '')) == value
    return said.startswith((repr(value), str(value))) and said != ''


def is_static(function):
    return any(ast.unparse(decorator) == 'staticmethod' for decorator in function.decorator_list)


def documented_things(file):
    """(name, docstring, function, is method) of everything public with a signature."""
    for node in parse(file).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith('_'):
            yield node.name, ast.get_docstring(node), node, False
        if not isinstance(node, ast.ClassDef) or node.name.startswith('_'):
            continue
        for method in node.body:
            if not isinstance(method, ast.FunctionDef):
                continue
            if method.name == '__init__':
                yield node.name, ast.get_docstring(node), method, True
            elif not method.name.startswith('_'):
                name = f'{node.name}.{method.name}'
                yield name, ast.get_docstring(method), method, not is_static(method)


def documentation_problems(file):
    for name, text, function, is_method in documented_things(file):
        documented = documented_arguments(text)
        arguments, starred = signature(function, is_method)
        if documented is None:
            if arguments and not is_method:
                yield f'{name} documents none of {list(arguments)}'
            continue
        for missing in set(arguments) - set(documented):
            yield f'{name} does not document {missing}'
        for extra in set(documented) - set(arguments) - (starred or set()):
            if 'kwargs' not in starred:
                yield f'{name} documents {extra}, which it does not take'
        for argument, default in arguments.items():
            said = documented.get(argument, '')
            unused = 'Not used' in said
            if default is not None and said and not unused and not same_default(said, default):
                yield f'{name}: {argument}={ast.unparse(default)} but documented: {said[-70:]!r}'
            if default is None and 'Defaults to' in said:
                yield f'{name}: {argument} has no default, but one is documented'


@pytest.mark.parametrize('file', FILES, ids=NAMES)
def test_documented_arguments_and_defaults_are_those_of_the_signature(file):
    assert list(documentation_problems(file)) == []


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ('a (int): A.\n        b (int): B. Defaults to 2.', None),
        ('a (int): A.\n        b (int): B. Defaults to 3.', 'b=2 but documented'),
        ('a (int): A.\n        b (int): B.', 'b=2 but documented'),
        ('a (int): A.', 'does not document b'),
        ('a (int): A.\n        b (int): B. Defaults to 2.\n        c (int): C.', 'documents c'),
        ('a (int): A. Defaults to 1.\n        b (int): B. Defaults to 2.', 'a has no default'),
    ],
)
def test_the_documentation_check_finds_each_kind_of_problem(tmp_path, text, problem):
    file = tmp_path / 'x.py'
    file.write_text(f'def f(a, b=2):\n    """Do.\n\n    Args:\n        {text}\n    """\n')
    found = list(documentation_problems(file))
    assert (problem is None and found == []) or problem in found[0]


def test_importing_the_package_alone_is_cheap():
    code = 'import sys, disp_plugin; print("torch" in sys.modules, "numpy" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ['False', 'False'], done.stderr
