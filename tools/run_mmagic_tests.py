"""Run mmagic's own tests of its GAN half in this environment, with disp_plugin's patches active.

git clone --depth 1 --branch v1.2.0 https://github.com/open-mmlab/mmagic checkouts/mmagic
python tools/run_mmagic_tests.py checkouts/mmagic

The archive https://github.com/open-mmlab/mmagic/archive/refs/tags/v1.2.0.tar.gz serves as well;
the sdist of PyPI has no tests. They are copied to a temporary folder and run against the installed
mmagic, one process a suite. Failures that docs/upstream_tests.md lists, each with its cause, are
known; the exit status is 1 only if a test fails that is not listed there, or a suite does not end.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# name of a suite -> its folder or file, relative to mmagic's root
_EDITORS = 'tests/test_models/test_editors'
_BASE_MODELS = 'tests/test_models/test_base_models'
_GANS = 'biggan sagan dcgan lsgan ggan wgan_gp pggan stylegan1 stylegan2 stylegan3'
_BASES = 'base_gan base_conditional_gan average_model'
SUITES = {
    **{name: f'{_EDITORS}/test_{name}' for name in _GANS.split()},
    **{name: f'{_BASE_MODELS}/test_{name}.py' for name in _BASES.split()},
    'losses': 'tests/test_models/test_losses',
    'engine': 'tests/test_engine',
    'evaluation': 'tests/test_evaluation',
    'data_preprocessors': 'tests/test_models/test_data_preprocessors',
    'model_utils': 'tests/test_models/test_utils',
    'datasets': 'tests/test_datasets',
    'structures': 'tests/test_structures',
    'visualization': 'tests/test_visualization',
}

ROOT = Path(__file__).resolve().parents[1]
KNOWN_FAILURES = ROOT / 'docs' / 'upstream_tests.md'
REPORT_VARIABLE = 'DISP_PLUGIN_TEST_REPORT'

_WAY_OUT = (
    'give a checkout of https://github.com/open-mmlab/mmagic at v1.2.0 or its source archive '
    'https://github.com/open-mmlab/mmagic/archive/refs/tags/v1.2.0.tar.gz'
)


@dataclass
class SuiteResult:
    """Outcomes of a suite's tests.

    Args:
        outcomes (dict[str, str]): By test, relative to mmagic's root: ``passed``, ``failed`` or
            ``skipped``; a file that cannot be imported counts as one failed test.
        output (str): What pytest printed.
        is_ended (bool): Whether pytest came to its end by itself, in time.
    """

    outcomes: dict[str, str]
    output: str
    is_ended: bool

    def select(self, outcome: str) -> list[str]:
        """List the tests of one outcome, in the order in which they ran."""
        return [test for test, value in self.outcomes.items() if value == outcome]


def read_known_failures(file: Path) -> set[str]:
    """Read the names of known failures from Markdown rows ``| `tests/...::test` | cause |``."""
    return set(re.findall(r'^\| `(tests/[^`]+)` \|', file.read_text(encoding='utf-8'), re.M))


@contextmanager
def copy_tests(source: Path) -> Iterator[Path]:
    """Copy the tests of a checkout, or of its archive (.tar.gz), to a temporary folder.

    Yields:
        Path: The folder that holds ``tests/`` and nothing else; removed in the end.

    Raises:
        FileNotFoundError: There is nothing at ``source``.
        ValueError: It is no tar, or has no tests.
    """
    if not source.exists():
        raise FileNotFoundError(f'{source} does not exist; {_WAY_OUT}')
    with tempfile.TemporaryDirectory(prefix='mmagic_tests_') as name:
        folder = Path(name)
        if (source / 'tests').is_dir():
            shutil.copytree(source / 'tests', folder / 'tests')
        elif source.is_file():
            try:
                with tarfile.open(source) as archive:
                    members = [m for m in archive if PurePosixPath(m.name).parts[1:2] == ('tests',)]
                    archive.extractall(folder, members, filter='data')
            except (tarfile.TarError, EOFError, zlib.error) as error:
                raise ValueError(f'{source} is no whole tar ({error}); {_WAY_OUT}') from error
            folder = next(folder.iterdir(), folder)
        if not (folder / _EDITORS).is_dir():
            raise ValueError(f"{source} holds no {_EDITORS} (PyPI's sdist has none); {_WAY_OUT}")
        yield folder


def run_suite(path: str, folder: Path, timeout: float) -> SuiteResult:
    """Run one suite, a path relative to ``folder``, in a process of its own."""
    report = folder / 'report.txt'
    report.write_text('')
    # this file is also the pytest plugin that patches and reports; nothing of a user's applies
    command = [sys.executable, '-m', 'pytest', '-p', Path(__file__).stem, '-p', 'no:cacheprovider']
    command += ['--rootdir', '.', '-c', os.devnull, '-q', '--tb=short', path]
    command += ['--continue-on-collection-errors']
    paths = [str(ROOT / 'tools'), str(ROOT), os.environ.get('PYTHONPATH', '')]
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, paths)))
    env[REPORT_VARIABLE] = str(report)
    # no pipe, which a process that outlives pytest would keep open
    with open(folder / 'output.txt', 'w', encoding='utf-8') as file:
        try:
            done = subprocess.run(
                command, cwd=folder, env=env, stdout=file, stderr=file, timeout=timeout
            )
            is_ended = done.returncode in (0, 1)  # where all passed, or where tests failed
        except subprocess.TimeoutExpired:
            is_ended = False
    output = (folder / 'output.txt').read_text(encoding='utf-8', errors='replace')
    outcomes: dict[str, str] = {}
    for line in report.read_text(encoding='utf-8').splitlines():
        outcome, _, test = line.partition(' ')
        if outcomes.get(test) != 'failed':
            outcomes[test] = outcome
    return SuiteResult(outcomes, output, is_ended and bool(outcomes))


def pytest_configure(config: object) -> None:
    """Patch mmagic before pytest imports its tests."""
    if REPORT_VARIABLE in os.environ:
        from disp_plugin.upstream import apply_patches

        apply_patches()


def pytest_runtest_logreport(report: object) -> None:
    """Write a line on what a test, its setting up or its collection came to.

    Only a test can pass; whatever fails or is skipped counts.
    """
    outcome, test = getattr(report, 'outcome', ''), getattr(report, 'nodeid', '')
    is_test = getattr(report, 'when', '') == 'call'
    if REPORT_VARIABLE in os.environ and (is_test or outcome != 'passed'):
        with open(os.environ[REPORT_VARIABLE], 'a', encoding='utf-8') as file:
            file.write(f'{outcome} {test}\n')


pytest_collectreport = pytest_runtest_logreport


def summarize(name: str, result: SuiteResult, known: set[str]) -> list[str]:
    """Print the outcomes of a suite; return its new failures, among them that it did not end."""
    failed = result.select('failed')
    new = [test for test in failed if test not in known]
    print(
        f'{name:22}{len(result.select("passed")):5} passed{len(result.select("skipped")):5} skipped'
        f'{len(failed) - len(new):5} known failures{len(new):5} new',
        flush=True,
    )
    for test in sorted(known & set(result.select('passed'))):
        print(f'    passes, though listed as a known failure: {test}')
    if not result.is_ended:
        new.append(f'{name} did not come to its end')
    if new:
        print(result.output)
    return new


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', type=Path, help='checkout of mmagic 1.2.0, or its .tar.gz')
    parser.add_argument(
        '--suites', nargs='+', choices=SUITES, default=list(SUITES), help='default: all of them'
    )
    parser.add_argument(
        '--timeout', type=float, default=1800, help='seconds for one suite (default: 1800)'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    known, new = read_known_failures(KNOWN_FAILURES), []
    try:
        with copy_tests(args.source) as folder:
            for name in args.suites:
                result = run_suite(SUITES[name], folder, args.timeout)
                new += summarize(name, result, known)
    except (OSError, ValueError) as error:
        sys.exit(f'{Path(sys.argv[0]).name}: {error}')
    if new:
        sys.exit('\n'.join([f'new failures: {len(new)}', *new]))
    print(f'no new failures; the known ones are explained in {KNOWN_FAILURES.relative_to(ROOT)}')


if __name__ == '__main__':
    main()
