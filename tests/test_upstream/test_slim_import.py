"""The slim import: what it has, what it leaves out; full registration beside it."""

import importlib.util
import json

import pytest

from disp_plugin.upstream import apply_patches, slim_import


@pytest.fixture(scope='module')
def answers(fresh_process):
    return fresh_process['slim']


def test_slim_mmagic_has_all_of_the_gans_and_leaves_the_real_packages_alone(answers):
    assert answers['heavy modules'] == answers['absent'] == []
    assert answers['left out'] is True
    assert answers['scope'] == 'mmagic'
    assert answers['later import'] is True
    assert '_PlaceholderFinder' not in answers['finders']


def test_an_editor_that_was_left_out_is_imported_when_asked_for(answers):
    assert answers['asked for'] == ['RRDBNet', True]
    assert answers['from mmagic.models'] == [True, 'SRCNNNet']
    assert answers['unknown'] is False


def test_using_a_placeholder_names_the_package(answers):
    for use, package in (('use of a module', 'albumentations'), ('use of a class', 'diffusers')):
        assert answers[use].startswith('ImportError: ')
        assert f'pip install {package}' in answers[use]
        assert 'DISP_PLUGIN_FULL_MMAGIC=1' in answers[use]


def test_what_is_deferred_is_imported_when_it_is_used(fresh_process):
    answers = fresh_process['deferred']
    assert answers['early'] == []
    assert answers['parents'] == [True, [1, 232, 4, 4]]  # 64 + 64 + 96 + 8 channels
    assert answers['function'] == [16, 16, 3]  # 2 x 2 images of 5 pixels, margins of 2
    assert answers['module'] == [1, 3, 2]
    assert answers['exception'] == 'InvalidURL'
    assert answers['optimizer'] == [True, 0.5]
    assert answers['wrapper'].startswith("KeyError: 'no such'")
    assert answers['wrapper parent'] is True


def test_importing_upstream_imports_nothing_of_the_host(run_python):
    result = run_python('-c', 'import sys, disp_plugin.upstream; print(*sys.modules)')
    assert result.returncode == 0, result.stderr
    assert not {'torch', 'numpy', 'mmengine', 'mmcv', 'mmagic'} & set(result.stdout.split())


@pytest.mark.parametrize(
    ('value', 'wish'),
    [('1', True), ('true', True), ('0', False), ('no', False), ('', None)],
)
def test_the_environment_variable_chooses(monkeypatch, value, wish):
    monkeypatch.setenv(slim_import.FULL_VARIABLE, value)
    assert slim_import.full_by_environment() is wish


def test_without_a_choice_mmagic_is_whole_where_all_its_packages_are(monkeypatch):
    monkeypatch.delenv(slim_import.FULL_VARIABLE, raising=False)
    for missing, expected in (([], True), (['diffusers'], False)):
        monkeypatch.setattr(slim_import._state, 'is_full', None)
        monkeypatch.setattr(slim_import, 'missing_for_full', lambda missing=missing: missing)
        assert slim_import.is_full() is expected


def test_asking_for_all_of_mmagic_names_the_missing_packages(monkeypatch):
    monkeypatch.setattr(slim_import._state, 'is_full', None)
    monkeypatch.setattr(slim_import, 'EDITORS_PACKAGE', 'not imported')
    monkeypatch.setattr(slim_import, 'missing_for_full', lambda: ['diffusers', 'einops'])
    with pytest.raises(ImportError, match=r'diffusers, einops not installed'):
        apply_patches(full=True)


@pytest.mark.parametrize(
    ('package', 'cure'),
    [('mmagic', r'pip install --no-deps "mmagic>=1\.2,<1\.3"'), ('mmcv', r'disp_plugin\[lite\]')],
)
def test_a_missing_host_is_named_with_its_cure(monkeypatch, package, cure):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name, *rest: None if name == package else find(name)
    )
    with pytest.raises(ImportError, match=cure):
        apply_patches()


SCRIPT = """
import json, sys
mode = sys.argv[1]
if mode == 'by import':
    from disp_plugin.upstream import patch_config_reading
    patch_config_reading()
    import mmagic.models
from disp_plugin.upstream import PATCHES, apply_patches, removed_names
if mode == 'left out':
    next(patch for patch in PATCHES if patch.name == 'diffusers-names').state = mode
apply_patches()
from mmagic.registry import MODELS
names = ['BigGAN', 'StableDiffusion', 'ViCo', 'AnimateDiff', 'ClipWrapper', 'RRDBNet']
answers = {'absent': [name for name in names if MODELS.get(name) is None]}
answers['models'] = len(MODELS.module_dict)
import diffusers, transformers
answers['real'] = [hasattr(diffusers, 'UNet2DConditionModel'), hasattr(transformers, 'CLIPModel')]
docs = {name: getattr(sys.modules.get(name), '__doc__', None) for name in removed_names.MOVED}
answers['aliases'] = [name for name, doc in docs.items() if 'Alias of disp_plugin' in (doc or '')]
print(json.dumps(answers))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    bool(slim_import.missing_for_full()), reason='needs all packages of a full mmagic'
)
@pytest.mark.parametrize(
    ('mode', 'full'), [('by patches', '1'), ('by import', ''), ('left out', '1')]
)
def test_all_of_mmagic_registers_and_the_packages_stay_as_they_are(run_python, mode, full):
    """Also where mmagic was imported before the patches; without the aliases it dies."""
    result = run_python('-c', SCRIPT, mode, DISP_PLUGIN_FULL_MMAGIC=full)
    if mode == 'left out':
        assert result.returncode != 0 and 'diffusers' in result.stderr.splitlines()[-1]
        return
    assert result.returncode == 0, result.stderr
    answers = json.loads(result.stdout.splitlines()[-1])
    assert answers['absent'] == answers['aliases'] == []
    assert answers['models'] > 300
    assert answers['real'] == [True, True]
