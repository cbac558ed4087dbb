"""Every repair, with and without: the same probe meets the symptom in an fresh_process process."""

import importlib
import sys

import pytest
import torch

from disp_plugin.upstream import apply_patches, repairs
from disp_plugin.upstream.repair import WAITING

CPU_ONLY = ('cpu-processes', 'cpu-ddp', 'cpu-sync-batchnorm')

# what a user meets without the repair (a part of it), and what with it
EXPECTED = {
    'ada-grid-sample': ('grid_sampler_2d_backward is not implemented', [1, 1, 4, 4]),
    'ada-counts': ('nan', '0.0'),
    'ada-search': (0, 0.25),
    'ada-base': (0, 0.25),
    'plain-convolutions': (1, 0),
    'pure-operators (upfirdn2d)': ('AssertionError', 'torch.float16'),
    'pure-operators (fused_bias_leakyrelu)': ('torch.float32', 'torch.float16'),
    # the same with a compiled mmcv, which has the one repair or the other
    'half-filter': ('AssertionError', 'torch.float16'),
    'mmcv-ext': ("No module named 'mmcv._ext'", 'mmcv.ops'),
    'numpy-bool8': ("no attribute 'bool8'", 'mmagic.utils.trans_utils'),
    'integer-labels': ([4, 1], [4]),
    'loss-scaler': ([None, None], ['the scaler', 'the scaler']),
    'integer-betas': ('betas must be either both floats or both Tensors', ['0.0', '0.9']),
    'safe-checkpoints': ('Weights only load failed', 3.0),
    'cpu-processes': ('AssertionError: Torch not compiled with CUDA|No CUDA GPUs|NVIDIA', 'gloo'),
    'cpu-ddp': ('device_ids', [3, 1]),
    'cpu-sync-batchnorm': ('SyncBatchNorm expected input tensor to be on GPU', [4, 2]),
}


def skip_if_not_needed(name):
    repair = next(repair for repair in repairs() if repair.name == name)
    if name in CPU_ONLY and torch.cuda.is_available():
        pytest.skip('there is a CUDA device, so this repair is not needed here')
    if repair.state == 'not needed':
        pytest.skip(f'{name} is not needed with the installed versions')


@pytest.mark.parametrize('name', EXPECTED)
def test_the_symptom_is_met_without_the_repair(name, fresh_process):
    skip_if_not_needed(name)
    symptom = EXPECTED[name][0]
    if isinstance(symptom, str):
        assert any(part in str(fresh_process[name]) for part in symptom.split('|'))
    else:
        assert fresh_process[name] == symptom


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
    apply_patches()
    assert (BaseConditionalGAN.data_sample_to_label, OPTIMIZERS.build_func) == before
    assert sys.meta_path == finders


def test_every_repair_says_what_it_cures_and_when_it_can_go():
    from disp_plugin import upstream

    for name in upstream._REPAIR_FILES:
        text = importlib.import_module(f'disp_plugin.upstream.{name}').__doc__
        for word in ('Symptom:', 'Cause:', 'Upstream:', 'Delete when:'):
            assert word in text, (name, word)
