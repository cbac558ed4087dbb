"""A wheel of the present sources, and environments that it is installed into."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = ('disp_plugin', 'configs', 'tools', 'requirements', 'tests', 'benchmarks')
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


@pytest.fixture(scope='session')
def install():
    """A function (python, *arguments of `uv pip install`)."""
    own = ROOT / '.venvs' / 'uv' / 'bin' / 'uv'
    uv = str(own) if own.is_file() else shutil.which('uv')
    if uv is None:
        pytest.skip('needs uv, which `make env` brings')

    def run(python, *arguments):
        if not python.is_file():
            create = [uv, 'venv', '-q', '--python', sys.executable, str(python.parents[1])]
            subprocess.run(create, check=True)
        # Each run compiles what it imports, which is less than all.
        environment = {**os.environ, 'UV_COMPILE_BYTECODE': '0'}
        command = [uv, 'pip', 'install', '-q', '--python', str(python), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if 'error sending request' in done.stderr or 'dns error' in done.stderr:
            pytest.skip('no package index can be reached')
        assert done.returncode == 0, done.stderr

    return run


@pytest.fixture(scope='session')
def current(install, wheel, tmp_path_factory):
    """The newest tested stack: NumPy 2, and no setuptools, so no pkg_resources."""
    python = tmp_path_factory.mktemp('current') / 'bin' / 'python'
    is_locked = sys.version_info[:2] == (3, 11)
    lock = ['-c', ROOT / 'requirements' / 'lock-py311.txt'] if is_locked else []
    install(python, *lock, f'disp_plugin[lite] @ {wheel.as_uri()}')
    install(python, '--no-deps', '-r', ROOT / 'requirements' / 'mmagic.txt')
    folder = site_packages(python)
    for pattern in ('setuptools*', 'pkg_resources*', '_distutils_hack', 'distutils-precedence.pth'):
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return python


@pytest.fixture(scope='session')
def older(install, current, tmp_path_factory):
    """The same, with NumPy 1.26 and pkg_resources."""
    folder = tmp_path_factory.mktemp('environments') / 'older'
    # links: nothing writes into an installed file, and what is replaced is removed first
    shutil.copytree(current.parents[1], folder, symlinks=True, copy_function=link)
    python = folder / 'bin' / 'python'
    install(python, 'numpy==1.26.4', 'setuptools==80.9.0', 'opencv-python==4.11.0.86')
    return python


def link(source, target):
    """Link a file, or copy what is a link itself."""
    if os.path.islink(source):
        return shutil.copy2(source, target, follow_symlinks=False)
    return os.link(source, target)


def site_packages(python):
    """The folder that an environment's packages lie in."""
    code = 'import sysconfig; print(sysconfig.get_path("purelib"))'
    return Path(subprocess.check_output([python, '-c', code], text=True).strip())


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
