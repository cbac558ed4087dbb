"""The slim import: what it has, what it leaves out, and that it leaves others alone."""

import json
import os
import subprocess
import sys

import pytest

from disp_plugin.upstream import mend, slim_import

FAKE = 'class CLIPModel:\n    pass\nwas_imported_for_real = True\n'

# Runs in a process of its own, with a package 'transformers' that must neither be imported by
# mmagic nor be lost to later code.
SCRIPT = """
import json, sys
from disp_plugin.upstream import mend, slim_import
mend()
answers = {}
loaded = [name for name in sys.modules if name.partition('.')[0] in slim_import.HEAVY]
answers['heavy modules'] = loaded
answers['finders'] = [type(finder).__name__ for finder in sys.meta_path]
import transformers
answers['later import'] = transformers.was_imported_for_real
from mmagic.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS
wanted = {MODELS: ['BigGAN', 'SAGAN', 'StyleGAN2', 'GANLoss'], DATASETS: ['ImageNet', 'CIFAR10'],
          TRANSFORMS: ['PackInputs', 'Flip'], HOOKS: ['VisualizationHook'], METRICS: ['FID']}
answers['absent'] = [n for r, names in wanted.items() for n in names if r.get(n) is None]
answers['left out'] = MODELS.get('RRDBNet') is None
from mmagic.models.editors import RRDBNet
answers['asked for'] = RRDBNet.__name__, MODELS.get('RRDBNet') is RRDBNet
import mmagic.models.editors as editors
answers['unknown'] = hasattr(editors, 'NoSuchEditor')
answers['fine import'] = editors.BigGAN.__name__ if hasattr(editors, 'BigGAN') else None
def use(function):
    try:
        function()
    except Exception as error:
        return f'{type(error).__name__}: {error}'
from mmagic.datasets.transforms import albu_function
from mmagic.models.archs import attention_injection
answers['use of a module'] = use(lambda: albu_function.albu.Compose([]))
answers['use of a class'] = use(lambda: attention_injection.BasicTransformerBlock())
from mmengine.registry import DefaultScope
answers['scope'] = DefaultScope.get_current_instance().scope_name
print(json.dumps(answers))
"""


def run(script, repo_root, folder, **environment):
    return subprocess.run(
        [sys.executable, '-c', script],
        env=dict(os.environ, PYTHONPATH=f'{folder}{os.pathsep}{repo_root}', **environment),
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope='module')
def answers(tmp_path_factory, repo_root):
    folder = tmp_path_factory.mktemp('packages')
    (folder / 'transformers.py').write_text(FAKE)
    result = run(SCRIPT, repo_root, folder, DISP_PLUGIN_FULL_MMAGIC='')
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_slim_mmagic_imports_no_heavy_package_and_has_all_of_the_gans(answers):
    assert answers['heavy modules'] == []
    assert answers['absent'] == []
    assert answers['left out'] is True
    assert answers['scope'] == 'mmagic'


def test_later_code_gets_the_real_packages(answers):
    assert answers['later import'] is True
    assert '_PlaceholderFinder' not in answers['finders']


def test_an_editor_that_was_left_out_is_imported_when_asked_for(answers):
    assert answers['asked for'] == ['RRDBNet', True]
    assert answers['unknown'] is False
    assert answers['fine import'] == 'BigGAN'


def test_using_a_placeholder_names_the_package(answers):
    for use, package in (('use of a module', 'albumentations'), ('use of a class', 'diffusers')):
        assert answers[use].startswith('ImportError: ')
        assert package in answers[use]
        assert 'DISP_PLUGIN_FULL_MMAGIC=1' in answers[use]


def test_importing_upstream_imports_nothing_of_the_host(repo_root, tmp_path):
    script = 'import sys, disp_plugin.upstream; print(*sys.modules)'
    result = run(script, repo_root, tmp_path)
    assert result.returncode == 0, result.stderr
    assert not {'torch', 'numpy', 'mmengine', 'mmcv', 'mmagic'} & set(result.stdout.split())


@pytest.mark.parametrize(
    ('value', 'wish'),
    [('1', True), ('true', True), ('0', False), ('no', False), ('', None), ('  ', None)],
)
def test_the_environment_variable_chooses(monkeypatch, value, wish):
    monkeypatch.setenv(slim_import.FULL_VARIABLE, value)
    assert slim_import.full_by_environment() is wish


def test_without_a_choice_mmagic_is_whole_where_all_its_packages_are(monkeypatch):
    monkeypatch.delenv(slim_import.FULL_VARIABLE, raising=False)
    for missing, expected in (([], True), (['diffusers'], False)):
        monkeypatch.setitem(slim_import._state, 'full', None)
        monkeypatch.setattr(slim_import, 'missing_for_full', lambda missing=missing: missing)
        assert slim_import.is_full() is expected


def test_asking_for_all_of_mmagic_names_the_missing_packages(monkeypatch):
    monkeypatch.setitem(slim_import._state, 'full', None)
    monkeypatch.setattr(slim_import, 'is_editors_loaded', lambda: False)
    monkeypatch.setattr(slim_import, 'missing_for_full', lambda: ['diffusers', 'einops'])
    with pytest.raises(ImportError, match=r'diffusers, einops not installed'):
        mend(full=True)


@pytest.mark.parametrize(
    ('package', 'cure'),
    [('mmagic', r'pip install --no-deps "mmagic>=1\.2,<1\.3"'), ('mmcv', r'disp_plugin\[lite\]')],
)
def test_a_missing_host_is_named_with_its_cure(monkeypatch, package, cure):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name, *rest: None if name == package else find(name)
    )
    with pytest.raises(ImportError, match=cure):
        mend()
