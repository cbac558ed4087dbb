"""Every repair, with and without: the same probe meets the symptom in an unmended process."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from disp_plugin.upstream import mend, repairs
from disp_plugin.upstream.repair import WAITING

HERE = Path(__file__).resolve().parent

CPU_ONLY = ('cpu-processes', 'cpu-ddp', 'cpu-sync-batchnorm')

# what a user meets without the repair (a part of it), and what with it
EXPECTED = {
    'mmcv-ext': ("No module named 'mmcv._ext'", 'mmcv.ops'),
    'numpy-bool8': ("no attribute 'bool8'", 'mmagic.utils'),
    'integer-labels': ([4, 1], [4]),
    'loss-scaler': ([None, None], ['the scaler', 'the scaler']),
    'integer-betas': ('betas must be either both floats or both Tensors', ['0.0', '0.9']),
    'safe-checkpoints': ('Weights only load failed', 3.0),
    'cpu-processes': ('AssertionError: Torch not compiled with CUDA|No CUDA GPUs|NVIDIA', 'gloo'),
    'cpu-ddp': ('device_ids', [3, 1]),
    'cpu-sync-batchnorm': ('SyncBatchNorm expected input tensor to be on GPU', [4, 2]),
}


@pytest.fixture(scope='module')
def probes():
    spec = importlib.util.spec_from_file_location('upstream_probes', HERE / 'probes.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def unmended(probes, repo_root):
    """What every probe meets in a process in which its repair was left out."""
    environment = dict(os.environ, PYTHONPATH=str(repo_root))
    result = subprocess.run(
        [sys.executable, str(HERE / 'probes.py'), *probes.PROBES],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def skip_if_not_needed(name):
    repair = next(repair for repair in repairs() if repair.name == name)
    if name in CPU_ONLY and torch.cuda.is_available():
        pytest.skip('there is a CUDA device, so this repair is not needed here')
    if repair.state == 'not needed':
        pytest.skip(f'{name} is not needed with the installed versions')


@pytest.mark.parametrize('name', EXPECTED)
def test_the_symptom_is_met_without_the_repair(name, unmended):
    skip_if_not_needed(name)
    symptom = EXPECTED[name][0]
    if isinstance(symptom, str):
        assert any(part in str(unmended[name]) for part in symptom.split('|'))
    else:
        assert unmended[name] == symptom


@pytest.mark.parametrize('name', EXPECTED)
def test_the_repair_cures_the_symptom(name, probes):
    skip_if_not_needed(name)
    probe = {**probes.PROBES, **probes.IMPORTS}[name]
    assert probes.meet(probe) == EXPECTED[name][1]


def test_every_repair_has_acted_or_was_not_needed_once_mended():
    assert [repair.name for repair in repairs() if repair.state == WAITING] == []


def test_mending_twice_changes_nothing():
    from mmagic.models.base_models import BaseConditionalGAN
    from mmengine.registry import OPTIMIZERS

    finders = list(sys.meta_path)
    before = BaseConditionalGAN.data_sample_to_label, OPTIMIZERS.build_func
    mend()
    assert (BaseConditionalGAN.data_sample_to_label, OPTIMIZERS.build_func) == before
    assert sys.meta_path == finders


def test_every_repair_says_what_it_cures_and_when_it_can_go():
    import importlib

    from disp_plugin import upstream

    for name in upstream._REPAIR_FILES:
        text = importlib.import_module(f'disp_plugin.upstream.{name}').__doc__
        for word in ('Symptom:', 'Cause:', 'Upstream:', 'Delete when:'):
            assert word in text, (name, word)
