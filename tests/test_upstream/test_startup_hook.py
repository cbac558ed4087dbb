"""The start-up hook in an environment of its own, which borrows the packages of this one."""

import os
import subprocess
import sysconfig
import venv
from pathlib import Path
from types import SimpleNamespace

import pytest

from disp_plugin.upstream import __main__ as command
from disp_plugin.upstream import startup_hook

# mmagic's tools on a machine without pkg_resources; the first import of mmengine is theirs
AS_MMAGICS_TOOLS = """
import sys
sys.modules['pkg_resources'] = None
from mmengine.config import Config
config = Config.fromfile(sys.argv[1])
from mmengine.runner import Runner
from mmagic.utils import print_colored_log
from mmagic.registry import DATASETS, MODELS, TRANSFORMS
# the registries import mmagic's parts on their own, in the order in which they are asked
classes = [DATASETS.get('ImageNet'), TRANSFORMS.get('PackInputs')]
print(*[found.__name__ for found in classes], type(MODELS.build(config.model)).__name__)
"""


@pytest.fixture(scope='module')
def environment(tmp_path_factory, repo_root):
    """Its folder of packages, the place of its hook, and a function that runs its Python."""
    folder = tmp_path_factory.mktemp('environment')
    venv.create(folder, with_pip=False, symlinks=True)
    site_packages = next((folder / 'lib').glob('python*/site-packages'))
    (site_packages / 'borrowed.pth').write_text(sysconfig.get_path('purelib') + '\n')

    def run(*arguments, path=repo_root, **environment):
        return subprocess.run(
            [str(folder / 'bin' / 'python'), *arguments],
            env={**os.environ, 'PYTHONPATH': str(path), **environment},
            cwd=folder,  # not the checkout, which has the plugin
            capture_output=True,
            text=True,
        )

    hook = site_packages / startup_hook.FILE_NAME
    return SimpleNamespace(site_packages=site_packages, hook=hook, run=run)


@pytest.fixture
def hooked(environment):
    result = environment.run('-m', 'disp_plugin.upstream', 'install')
    assert result.returncode == 0, result.stderr
    yield environment
    environment.hook.unlink(missing_ok=True)


def test_install_status_and_remove_say_what_they_do(environment):
    def run(action):
        result = environment.run('-m', 'disp_plugin.upstream', action)
        assert result.returncode == 0, result.stderr
        return result.stdout

    assert 'start-up hook: absent' in run('status')
    assert f'installed {environment.hook}' in run('install')
    assert [file.name for file in environment.site_packages.glob('*disp_plugin*')] == [
        startup_hook.FILE_NAME
    ]
    assert 'start-up hook: installed' in run('status')
    environment.hook.write_text('# of another version\n')
    assert 'start-up hook: outdated' in run('status')
    assert f'removed {environment.hook}' in run('remove')
    assert not environment.hook.exists()
    assert 'there is no hook' in run('remove')


@pytest.mark.slow
def test_with_the_hook_mmagics_tools_read_configs_and_build_models(hooked, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text("_base_ = ['mmagic::biggan/biggan_2xb25-500kiters_cifar10-32x32.py']\n")
    result = hooked.run('-c', AS_MMAGICS_TOOLS, str(config), DISP_PLUGIN_FULL_MMAGIC='0')
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[-3:] == ['ImageNet', 'PackInputs', 'BigGAN']


def test_the_hook_imports_nothing_at_start(hooked):
    script = 'import sys; print(*sys.modules)'
    with_hook = set(hooked.run('-c', script).stdout.split())
    hooked.hook.unlink()
    assert with_hook == set(hooked.run('-c', script).stdout.split())


def test_the_hook_outlives_the_plugin_without_a_sound(hooked):
    # borrowed packages may include an installed disp_plugin, so it is hidden as if uninstalled
    script = "import sys; sys.modules['disp_plugin'] = None; import mmengine; print('imported')"
    result = hooked.run('-c', script, path='')
    assert result.returncode == 0
    assert result.stdout == 'imported\n'
    assert result.stderr == ''


def test_a_failing_plugin_does_not_break_the_import(hooked, tmp_path):
    package = tmp_path / 'disp_plugin' / 'upstream'
    package.mkdir(parents=True)
    (package.parent / '__init__.py').touch()
    (package / '__init__.py').write_text(
        'def patch_config_reading():\n    raise ValueError("broken")\n'
    )
    script = "import mmengine; print('imported')"
    result = hooked.run('-c', script, path=tmp_path)
    assert result.stdout == 'imported\n'
    assert "could not patch mmagic: ValueError('broken')" in result.stderr


def test_no_permission_is_told_with_the_way_out(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, 'Permission denied')

    file = tmp_path / startup_hook.FILE_NAME
    file.write_text('')
    monkeypatch.setattr(startup_hook, 'hook_file', lambda: file)
    monkeypatch.setattr(os, 'open', refuse)
    monkeypatch.setattr(Path, 'unlink', refuse)
    for action in ('install', 'remove'):
        with pytest.raises(SystemExit, match=f'no permission to {action} {file}.*python -m venv'):
            command.main([action])
