"""A wheel of the present sources, and environments that it is installed into."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = ('disp_plugin', 'configs', 'tools', 'requirements', 'tests')
FILES = ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'LICENSE', 'README.md', 'CHANGELOG.md')


@pytest.fixture(scope='session')
def source_tree(tmp_path_factory):
    """A copy of what git keeps, so that building cannot touch the checkout."""
    tree = tmp_path_factory.mktemp('source') / 'disp_plugin'
    skipped = shutil.ignore_patterns('__pycache__', '*.pyc', '.mim')
    for part in PARTS:
        shutil.copytree(ROOT / part, tree / part, ignore=skipped)
    for file in (*FILES, 'Makefile'):
        if (ROOT / file).is_file():
            shutil.copy2(ROOT / file, tree / file)
    return tree


@pytest.fixture(scope='session')
def build():
    """A function (tree, command, folder) that runs setup.py without an environment of its own."""

    def run(tree, command, folder):
        done = subprocess.run(
            [sys.executable, 'setup.py', '-q', command, '--dist-dir', str(folder)],
            cwd=tree,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    return run


@pytest.fixture(scope='session')
def wheel(source_tree, build, tmp_path_factory):
    """The wheel of the present sources."""
    folder = tmp_path_factory.mktemp('dist')
    build(source_tree, 'bdist_wheel', folder)
    return next(folder.glob('*.whl'))


def find_uv():
    """Find uv: the one that `make` brought, or the system's."""
    own = ROOT / '.venvs' / 'uv' / 'bin' / 'uv'
    return str(own) if own.is_file() else shutil.which('uv')


@pytest.fixture(scope='session')
def make_environment(wheel, tmp_path_factory):
    """A function (*further requirements) -> python of a new environment with the wheel."""
    uv = find_uv()
    if uv is None:
        pytest.skip('needs uv, which `make env` brings')
    lock = ROOT / 'requirements' / 'lock-py311.txt'

    def make(name, *requirements, overrides=()):
        folder = tmp_path_factory.mktemp(name)
        python = folder / 'venv' / 'bin' / 'python'
        allowed = folder / 'constraints.txt'
        changed = {line.split('==')[0] for line in overrides}
        lines = lock.read_text().splitlines() if sys.version_info[:2] == (3, 11) else []
        kept = [line for line in lines if line.split('==')[0] not in changed]
        allowed.write_text('\n'.join([*kept, *overrides]) + '\n')
        install = [uv, 'pip', 'install', '-q', '--python', str(python)]
        for command in (
            [uv, 'venv', '-q', '--python', sys.executable, str(folder / 'venv')],
            [*install, '-c', str(allowed), f'disp_plugin[lite] @ {wheel.as_uri()}', *requirements],
            [*install, '--no-deps', '-r', str(ROOT / 'requirements' / 'mmagic.txt')],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if 'error sending request' in done.stderr or 'dns error' in done.stderr:
                pytest.skip('no package index can be reached')
            assert done.returncode == 0, done.stderr
        return python

    return make


@pytest.fixture(scope='session')
def clean_run():
    """A function (python, *arguments, cwd) that runs a command with no trace of the checkout."""

    def run(python, *arguments, cwd, fails=False):
        environment = {k: v for k, v in os.environ.items() if not k.startswith('PYTHON')}
        environment['OMP_NUM_THREADS'] = '1'
        done = subprocess.run(
            [str(python), *map(str, arguments)],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        text = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, text[-3000:]
        return text

    return run
