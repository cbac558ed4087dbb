import subprocess
import sys

import pytest

import disp_plugin


def run(*arguments):
    command = [sys.executable, '-m', 'disp_plugin', *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_tool_is_run_by_its_name_with_its_arguments():
    done = run('train', '--help')
    assert done.returncode == 0, done.stderr
    assert 'train.py' in done.stdout and '--resume' in done.stdout


def test_an_unknown_tool_is_refused_with_those_there_are():
    done = run('trian')
    assert done.returncode == 1
    assert "'trian' is not a tool of disp_plugin" in done.stderr
    assert 'python -m disp_plugin train ...' in done.stderr


def test_the_python_api_is_there_when_it_is_asked_for():
    for name in disp_plugin.__all__:
        assert getattr(disp_plugin, name)
    with pytest.raises(AttributeError, match="'disp_plugin' has no attribute 'nothing'"):
        disp_plugin.nothing  # noqa: B018


def test_importing_the_package_is_cheap_and_imports_nothing_heavy():
    code = (
        'import sys, disp_plugin; '
        'print([m for m in ("torch", "numpy", "mmengine", "mmagic") if m in sys.modules])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.strip() == '[]', done.stderr


def test_the_python_api_builds_a_data_set_with_a_bank_in_a_fresh_process(tmp_path):
    code = (
        'import disp_plugin; '
        f'disp_plugin.ImageFolderDataset({str(tmp_path)!r}, bank_file="bank.safetensors")'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert 'holds no image' in done.stderr and 'registry' not in done.stderr
