"""The doctor names each clash with its cure, and survives whatever is missing or broken."""

import importlib.metadata
import os
import subprocess
import sys
import types

import pytest
import torch

from disp_plugin import doctor

GOOD = {
    'torch': '2.11.0+cpu',
    'torchvision': '0.26.0',
    'numpy': '2.4.6',
    'mmengine': '0.10.7',
    'mmcv-lite': '2.1.0',
    'mmagic': '1.2.0',
}


@pytest.fixture
def installation(monkeypatch):
    """A made-up installation: versions by distribution, and modules that fail to import."""

    made_up = types.SimpleNamespace(versions=dict(GOOD), broken={})
    monkeypatch.setattr(doctor, 'get_version', lambda package: made_up.versions.get(package))
    monkeypatch.setattr(doctor, 'get_import_error', lambda module: made_up.broken.get(module))
    monkeypatch.setattr(
        importlib.metadata, 'requires', lambda package: ['numpy', 'torch==2.11.0', 'pillow!=8.3']
    )
    return made_up


@pytest.mark.parametrize(
    ('versions', 'problem', 'cure'),
    [
        ({'mmcv': '2.1.0'}, 'both own the folder mmcv/', 'pip uninstall -y mmcv mmcv-lite'),
        ({'mmcv-lite': '2.2.0'}, 'mmcv-lite 2.2.0 is not', 'pip install "mmcv-lite>=2.0,<2.2"'),
        ({'mmcv-lite': None, 'mmcv': '1.7.2'}, 'mmcv 1.7.2 is not', 'pip install "mmcv>=2.0,<2.2"'),
        ({'mmcv-lite': None}, 'mmcv is not installed', 'pip install "disp_plugin[lite]"'),
        ({'mmagic': None}, 'mmagic is not installed', 'pip install --no-deps "mmagic>=1.2,<1.3"'),
        ({'mmagic': '1.1.0'}, 'mmagic 1.1.0', 'pip install --no-deps "mmagic>=1.2,<1.3"'),
        ({'mmengine': '0.11.0'}, 'mmengine 0.11.0', 'pip install "mmengine>=0.10.5,<0.11"'),
        ({'torch': '2.12.0'}, 'is built for torch 2.11.0, but torch 2.12.0', 'from one index'),
    ],
)
def test_versions_that_clash_are_named_with_their_cure(installation, versions, problem, cure):
    assert doctor.find_clashes() == []
    installation.versions.update(versions)
    (clash,) = doctor.find_clashes()
    assert problem in clash.problem
    assert cure in clash.cure


@pytest.mark.parametrize(
    ('module', 'name', 'cure'),
    [
        ('torchvision', 'torchvision', 'different builds'),
        ('torch', 'torch', '--force-reinstall torch'),
        ('cv2', 'OpenCV', 'opencv-python-headless'),
        ('numpy', 'numpy', '--force-reinstall numpy'),
        ('sklearn', 'sklearn', 'scikit-learn'),
    ],
)
def test_modules_that_do_not_import_are_named_with_their_cure(installation, module, name, cure):
    installation.broken[module] = 'OSError: some library'
    if module == 'torch':
        installation.broken['torchvision'] = 'OSError: the same'
    (clash,) = doctor.find_clashes()
    assert clash.problem == f'{name} does not import (OSError: some library)'
    assert cure in clash.cure


def test_torch_that_was_built_for_another_numpy_is_named(installation, monkeypatch):
    def zeros(size):
        raise RuntimeError('Numpy is not available')

    monkeypatch.setattr(torch, 'zeros', zeros)
    (clash,) = doctor.find_clashes()
    assert 'does not work with numpy 2.4.6 (RuntimeError: Numpy is not' in clash.problem
    assert 'pip install "numpy<2"' in clash.cure


def test_mmagic_that_does_not_import_is_a_clash_and_no_crash(installation, monkeypatch, capsys):
    def break_patches():
        raise AttributeError('numpy has no attribute of tomorrow')

    monkeypatch.setattr(doctor, 'apply_patches', break_patches)
    assert doctor.main() == 1
    assert 'mmagic does not import (AttributeError: numpy has no attr' in capsys.readouterr().out


def test_the_report_tells_versions_patches_and_that_all_is_well(capsys):
    assert doctor.main() == 0
    report = capsys.readouterr().out
    for part in ('torch 2', 'mmagic 1.2', 'integer-labels: active', 'Start-up hook\n', 'CUDA'):
        assert part in report
    assert report.rstrip().endswith('Clashes\n  none')


def test_a_section_that_fails_does_not_take_the_report_with_it(monkeypatch, capsys):
    def find():
        raise PermissionError('no access')

    monkeypatch.setattr(doctor, 'find_cached_weights', find)
    doctor.main()
    report = capsys.readouterr().out
    assert 'Cached encoder weights\n  unknown (PermissionError: no access)' in report
    assert 'Clashes' in report


def test_an_environment_with_nothing_in_it_is_reported_without_a_crash(repo_root, tmp_path):
    environment = {'PYTHONPATH': str(repo_root), 'HOME': str(tmp_path), 'PATH': os.environ['PATH']}
    result = subprocess.run(
        [sys.executable, '-S', '-m', 'disp_plugin.doctor'],  # -S: no site-packages
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1, result.stderr
    assert result.stderr == ''
    for package in ('mmcv', 'mmagic', 'mmengine'):
        assert f'{package} is not installed\n    cure: pip install' in result.stdout


def test_cached_weights_are_found_where_the_libraries_keep_them(monkeypatch, tmp_path):
    for variable in ('HF_HUB_CACHE', 'XDG_CACHE_HOME'):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('HF_HOME', str(tmp_path / 'hf'))
    assert doctor.find_cached_weights() == []
    weights = tmp_path / 'torch' / 'hub' / 'checkpoints' / 'vgg16-397923af.pth'
    model = tmp_path / 'hf' / 'hub' / 'models--timm--resnet50.a1_in1k'
    weights.parent.mkdir(parents=True)
    weights.touch()
    model.mkdir(parents=True)
    assert doctor.find_cached_weights() == [weights, model]
    assert str(weights.parent) == os.path.join(torch.hub.get_dir(), 'checkpoints')
