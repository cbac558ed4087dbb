"""Configs are found and written as mmengine finds and writes them, only sooner."""

import os

import mmengine.config.config as host
import pytest
from mmengine.config.utils import _get_external_cfg_base_path, _get_external_cfg_path
from mmengine.utils import get_installed_path

from disp_plugin.upstream import config_text
from disp_plugin.upstream.package_configs import shipped_config


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
    assert os.path.samefile(shipped_config(name), theirs)


def test_what_mmagic_does_not_ship_is_left_to_mmengine():
    assert shipped_config('biggan/none.py') is None
    assert shipped_config('') is None


@pytest.fixture
def laid_out(monkeypatch):
    """The texts that were really laid out, with the repair over a layout that only counts."""
    calls = []

    def lay_out(text, **options):
        calls.append(text)
        return f'{text}, {options}', True

    monkeypatch.setattr(host, 'FormatCode', lay_out)
    config_text.apply()
    return calls


def test_an_unchanged_text_is_laid_out_once_and_a_changed_one_anew(laid_out):
    assert host.FormatCode('a', style_config={'x': 1}) == ("a, {'style_config': {'x': 1}}", True)
    assert host.FormatCode('a', style_config={'x': 1})[0].startswith('a')
    assert host.FormatCode('b', style_config={'x': 1})[0].startswith('b')
    assert host.FormatCode('a', style_config={'x': 2})[0].endswith("{'x': 2}}")
    assert laid_out == ['a', 'b', 'a']


def test_few_texts_are_remembered(laid_out):
    for number in range(100):
        host.FormatCode(str(number))
    assert len(host.FormatCode.texts) == config_text.MAX_TEXTS


def test_applying_it_twice_is_applying_it_once(laid_out):
    once = host.FormatCode
    config_text.apply()
    assert host.FormatCode is once
