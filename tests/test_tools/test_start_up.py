"""What a command does not need it does not import."""

import json
import os
import subprocess
import sys

import pytest

HEAVY = {'torch', 'mmengine', 'mmcv', 'mmagic', 'numpy', 'PIL', 'cv2', 'rich', 'yaml'}
UNUSED = {'torchvision', 'scipy', 'sklearn', 'timm', 'matplotlib', 'requests', 'sympy', 'pandas'}

COMMANDS = """
import contextlib, io, json, runpy, sys
ends = []
for command in json.loads(sys.argv[1]):
    sys.argv = command
    sys.path.insert(0, command[0].rpartition('/')[0])
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            runpy.run_path(command[0], run_name='__main__')
        except SystemExit as end:
            ends.append(end.code or 0)
print(json.dumps([ends, sorted({name.partition('.')[0] for name in sys.modules})]))
"""

REGISTER = """
import json, sys
import disp_plugin.register
print(json.dumps([name for name in sys.modules if '.' not in name or name == 'torch._dynamo']))
"""


def run(repo_root, tmp_path, *arguments):
    result = subprocess.run(
        [sys.executable, '-c', *arguments],
        env={**os.environ, 'PYTHONPATH': str(repo_root), 'DISP_PLUGIN_FULL_MMAGIC': ''},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_help_and_wrong_arguments_import_nothing_heavy(repo_root, tmp_path):
    tools = sorted(map(str, (repo_root / 'tools').glob('*.py')))
    helps = [[tool, '--help'] for tool in tools]
    unknown = [[tool, 'x', '--no-such-option'] for tool in tools]
    tool = {
        name: str(repo_root / f'tools/{name}.py') for name in ('train', 'sample', 'interpolate')
    }
    missing = [[tool['train'], 'x.py'], [tool['sample'], 'x.pth'], [tool['interpolate'], 'x.pth']]
    ends, modules = run(repo_root, tmp_path, COMMANDS, json.dumps([*helps, *unknown, *missing]))
    assert ends == [0] * len(helps) + [2] * (len(unknown) + len(missing))
    assert HEAVY & set(modules) == set()


@pytest.mark.slow
def test_registration_imports_no_package_that_a_sampling_does_not_need(repo_root, tmp_path):
    modules = run(repo_root, tmp_path, REGISTER)
    assert 'mmagic' in modules
    assert (UNUSED | {'torch._dynamo'}) & set(modules) == set()
