"""The command on a miniature of mmagic's tests; the real ones are not part of this project."""

import io
import re
import subprocess
import tarfile
from types import SimpleNamespace

import pytest

EDITORS = 'tests/test_models/test_editors'

# needs the slim import, which pytest's process has only if the host was patched before
SUITE = """
import pytest
from mmagic.models import LSGAN
from mmagic.registry import MODELS


def test_patched():
    assert MODELS.get('StyleGAN2') is not None and MODELS.get('CycleGAN') is None
    with open('tests/data/number.txt') as file:
        assert file.read() == '7'


@pytest.mark.parametrize('text', ['a b', 'c'])
def test_fails(text):
    assert text == 'c'


@pytest.mark.skip(reason='no GPU')
def test_skipped():
    pass


@pytest.fixture
def broken():
    yield
    raise OSError('the end')


def test_late(broken):
    pass
"""
MODULE = f'{EDITORS}/test_lsgan/test_lsgan.py'
FILES = {
    MODULE: SUITE,
    f'{EDITORS}/test_lsgan/test_absent.py': 'import no_such_package\n',
    'tests/data/number.txt': '7',
    'mmagic/__init__.py': 'raise ImportError("of the checkout")',
    'tests/conftest.py': '',
}


@pytest.fixture(scope='module')
def script(tool):
    return tool('run_mmagic_tests.py')


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    folder = tmp_path_factory.mktemp('mmagic')
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def write_archive(path, files):
    with tarfile.open(path, 'w:gz') as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


@pytest.fixture(scope='module')
def result(script, checkout):
    with script.copy_tests(checkout) as folder:
        return script.run_suite(script.SUITES['lsgan'], folder, timeout=300)


def test_a_suite_runs_patched_and_each_outcome_is_told(result):
    assert result.is_ended, result.output
    assert result.outcomes == {
        f'{MODULE}::test_patched': 'passed',
        f'{MODULE}::test_fails[a b]': 'failed',
        f'{MODULE}::test_fails[c]': 'passed',
        f'{MODULE}::test_skipped': 'skipped',
        f'{MODULE}::test_late': 'failed',
        f'{EDITORS}/test_lsgan/test_absent.py': 'failed',
    }, result.output


@pytest.mark.parametrize(
    ('status', 'line', 'is_ended'),
    [
        (0, 'passed a', True),
        (1, 'failed a', True),
        (5, '', False),
        (0, '', False),
        (-11, 'passed a', False),
        (None, 'passed a', False),
    ],
    ids=['passed', 'failed', 'nothing found', 'nothing run', 'crashed', 'too late'],
)
def test_only_a_pytest_that_ran_tests_to_its_end_counts(
    script, tmp_path, monkeypatch, status, line, is_ended
):
    def pytest_process(command, cwd, env, timeout, **kwargs):
        (tmp_path / 'report.txt').write_text(line)
        assert cwd == tmp_path and env[script.REPORT_VARIABLE] == str(tmp_path / 'report.txt')
        if status is None:
            raise subprocess.TimeoutExpired(command, timeout)
        return SimpleNamespace(returncode=status)

    monkeypatch.setattr(script.subprocess, 'run', pytest_process)
    result = script.run_suite('tests', tmp_path, timeout=1)
    assert result.is_ended is is_ended
    told = ['some did not come to its end']
    assert script.summarize('some', result, {'a'}) == ([] if is_ended else told)


def test_known_failures_end_well_and_new_ones_do_not(
    script, checkout, result, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(script, 'run_suite', lambda path, folder, timeout: result)
    monkeypatch.setattr(script, 'KNOWN_FAILURES', tmp_path / 'known.md')
    monkeypatch.setattr(script, 'ROOT', tmp_path)

    def run(*known):
        text = ''.join(f'| `{test}` | because |\n' for test in known)
        (tmp_path / 'known.md').write_text(text)
        script.main([str(checkout), '--suites', 'lsgan'])
        return capsys.readouterr().out

    failed, healed = result.select('failed'), f'{MODULE}::test_patched'
    printed = run(healed, *failed)
    assert re.search('lsgan +2 passed +1 skipped +3 known failures +0 new', printed)
    assert f'passes, though listed as a known failure: {healed}' in printed
    with pytest.raises(SystemExit) as stop:
        run(*failed[1:])
    # text as status: Python prints it and exits with 1
    assert stop.value.code == f'new failures: 1\n{failed[0]}'
    assert 'FAILURES' in capsys.readouterr().out


def test_only_the_tests_of_an_archive_are_copied(script, tmp_path):
    files = {f'mmagic-1.2.0/{name}': text for name, text in FILES.items()}
    files['mmagic-1.2.0/../../evil'] = 'x'
    archive = write_archive(tmp_path / 'mmagic.tar.gz', files)
    with script.copy_tests(archive) as folder:
        copied = {file.relative_to(folder).as_posix() for file in folder.rglob('*.*')}
        assert copied == {name for name in FILES if name.startswith('tests/')}
    assert not folder.exists()


@pytest.mark.parametrize(
    ('kind', 'problem'),
    [
        ('sdist', "holds no .*PyPI's sdist has none"),
        ('folder', "holds no .*PyPI's sdist has none"),
        ('text', 'is no whole tar'),
        ('cut', 'is no whole tar'),
        ('nothing', 'does not exist'),
    ],
)
def test_a_source_without_tests_is_told_with_the_way_out(
    script, tmp_path, monkeypatch, kind, problem
):
    source = tmp_path / 'mmagic-1.2.0.tar.gz'
    if kind == 'sdist':
        write_archive(source, {'mmagic-1.2.0/setup.py': '', 'mmagic-1.2.0/mmagic/a.py': ''})
    elif kind == 'folder':
        (source / 'mmagic').mkdir(parents=True)
    elif kind == 'text':
        source.write_text('no tar')
    elif kind == 'cut':
        write_archive(source, {'mmagic-1.2.0/tests/a.py': str(list(range(2000)))})
        source.write_bytes(source.read_bytes()[:2000])
    monkeypatch.setattr('sys.argv', ['tools/run_mmagic_tests.py'])
    with pytest.raises(SystemExit, match=rf'(?s)^run_mmagic_tests\.py: .*{problem}.*v1\.2\.0'):
        script.main([str(source)])


def test_the_document_gives_each_known_failure_a_cause(script):
    known = script.read_known_failures(script.KNOWN_FAILURES)
    rows = re.findall(r'^\| `(.*?)` \| (.+) \|$', script.KNOWN_FAILURES.read_text(), re.M)
    assert known == {test for test, _ in rows} and len(known) == len(rows) > 0
    for test, cause in rows:
        assert len(cause.split()) > 1
        assert any(test.startswith(path) for path in script.SUITES.values()), test
