"""Configs are read without pkg_resources, by any package name, and formatted once."""

import importlib.metadata
import json
import os
from types import SimpleNamespace

import mmengine.config.config as host
import pytest
from mmengine.config.utils import _get_external_cfg_base_path, _get_external_cfg_path
from mmengine.utils import get_installed_path, is_installed

from disp_plugin.upstream import config_reading

# Runs in a process of its own: pkg_resources must be absent, and torch must not be imported.
SCRIPT = """
import json, sys
sys.modules['pkg_resources'] = None
from mmengine.config import Config

def read(name):
    with open('config.py', 'w') as file:
        file.write(f'_base_ = [{name}]')
    try:
        config = Config.fromfile('config.py', import_custom_modules=False)
        return config.get('model', {}).get('_scope_'), 'model' in config
    except Exception as error:
        return f'{type(error).__name__}: {error}'

names = dict(
    plain="'mmagic::biggan/biggan_2xb25-500kiters_cifar10-32x32.py'",
    hyphen="'mmagic::wgan-gp/wgangp_GN_1xb64-160kiters_celeba-cropped-128x128.py'",
    ours="'disp_plugin::disp_biggan_digits.py'",
)
by_function = "__import__('disp_plugin').base('disp_biggan_digits.py')"
answers = {'without': {key: read(name) for key, name in names.items()}}
answers['base'] = read(by_function)
from disp_plugin.upstream import patch_config_reading
patch_config_reading()
answers['with'] = {key: read(name) for key, name in names.items()}
for package in ('disp_plugin', 'mmagic', 'mmnothing'):
    answers[package] = read(f"'{package}::no-such/config.py'")
answers['torch'] = 'torch' in sys.modules
print(json.dumps(answers))
"""


@pytest.fixture(scope='module')
def answers(run_python, tmp_path_factory):
    result = run_python('-c', SCRIPT, cwd=tmp_path_factory.mktemp('configs'))
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_without_patches_no_config_of_a_package_is_read(answers):
    assert 'import of pkg_resources halted' in answers['without']['plain']
    assert 'please specify the package name' in answers['without']['hyphen']
    assert isinstance(answers['without']['ours'], str)


def test_with_patches_they_are_read_and_have_mmagics_scope(answers):
    assert answers['with'] == {key: ['mmagic', True] for key in ('plain', 'hyphen', 'ours')}


def test_base_patches_the_reading_of_the_config_that_calls_it_without_torch(answers):
    assert answers['base'][1] is True
    assert answers['torch'] is False


def test_wrong_names_are_told(answers):
    assert "ships no config 'no-such/config.py'" in answers['disp_plugin']
    assert 'No such file' in answers['mmagic'] and '.mim/configs/no-such/' in answers['mmagic']
    assert 'please specify the package name' in answers['mmnothing']


@pytest.mark.parametrize(
    'name',
    [
        '_base_/gen_default_runtime.py',
        'biggan/biggan_2xb25-500kiters_cifar10-32x32.py',
        'wgan-gp/wgangp_GN_1xb64-160kiters_celeba-cropped-128x128.py',
    ],
)
def test_a_config_of_mmagic_is_the_file_that_mmengine_would_find(name):
    package = get_installed_path('mmagic')
    try:
        theirs = _get_external_cfg_path(package, name)
    except ValueError:
        theirs = _get_external_cfg_base_path(package, name)
    ours, scope = host.Config._get_cfg_path(f'mmagic::{name}', 'config.py')
    assert os.path.samefile(ours, theirs) and scope == 'mmagic'


def test_a_distribution_is_found_by_its_own_name_and_by_its_modules():
    cv2 = os.path.dirname(importlib.import_module('cv2').__file__)
    name = next(iter(importlib.metadata.packages_distributions()['cv2']))
    assert get_installed_path('cv2') == get_installed_path(name) == cv2
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        get_installed_path('no_such_package')
    assert is_installed(name) and is_installed('cv2') and not is_installed('no_such_package')


def test_an_unchanged_text_is_laid_out_once_and_few_are_remembered():
    laid_out = []
    module = SimpleNamespace(FormatCode=lambda text, **style: laid_out.append(text) or (text, True))
    config_reading.remember_texts(module)
    for width in (1, 1, 2):
        assert module.FormatCode('a', style_config={'x': width}) == ('a', True)
    assert laid_out == ['a', 'a']
    for number in (*range(100), *reversed(range(100))):
        assert module.FormatCode(str(number), style_config={}) == (str(number), True)
    assert len(laid_out) == 2 + 200 - config_reading.MAX_TEXTS
