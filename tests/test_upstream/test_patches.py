"""Each patch, with and without: the same probe meets the symptom in a process without the patch."""

import sys
import types
from copy import deepcopy

import pytest
import torch
from mmagic.engine.runner import loop_utils, multi_loops
from mmagic.evaluation.evaluator import Evaluator
from mmagic.models.base_models import BaseConditionalGAN
from mmagic.registry import EVALUATORS
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.registry import OPTIMIZERS, Registry

import disp_plugin.register  # noqa: F401
from disp_plugin.upstream import PATCHES, apply_patches, training
from disp_plugin.upstream.patch import NOT_NEEDED, WAITING
from tests.test_upstream import probes


@pytest.fixture(params=probes.PROBES)
def name(request):
    """The name of a patch that is needed with the installed versions."""
    if next(patch.state for patch in PATCHES if patch.name == request.param) == NOT_NEEDED:
        pytest.skip(f'{request.param} is not needed here')
    return request.param


def test_the_symptom_is_met_without_the_patch_and_not_with_it(name, fresh_process):
    probe, met = probes.PROBES[name], fresh_process[name]
    if isinstance(probe.symptom, str):
        assert any(part in str(met) for part in probe.symptom.split('|')), met
    else:
        assert met == probe.symptom
    if probe.cured is not None:
        assert probes.meet(probe.run) == probe.cured


def test_every_patch_has_acted_or_was_not_needed():
    assert [patch.name for patch in PATCHES if patch.state == WAITING] == []


def test_patching_twice_changes_nothing():
    finders = list(sys.meta_path)
    before = BaseConditionalGAN.data_sample_to_label, OPTIMIZERS.build_func
    apply_patches()
    assert (BaseConditionalGAN.data_sample_to_label, OPTIMIZERS.build_func) == before
    assert sys.meta_path == finders


@pytest.mark.parametrize(
    ('label', 'shape'),
    [
        (torch.zeros(4, 1).long(), [4]),
        (torch.zeros(4).long(), [4]),
        (torch.zeros(4, 3).long(), [4, 3]),  # several labels per image
        (torch.zeros(4, 1), [4, 1]),  # a vector of one number
        (torch.zeros(4, 7), [4, 7]),
    ],
)
def test_only_columns_of_integer_labels_are_flattened(label, shape):
    sample = types.SimpleNamespace(
        keys=lambda: ['gt_label'], gt_label=types.SimpleNamespace(label=label)
    )
    assert list(BaseConditionalGAN.data_sample_to_label(None, sample).shape) == shape


class TestIntegerBetas:
    def test_only_integers_are_changed_and_the_config_is_not(self):
        params = [torch.nn.Parameter(torch.zeros(1))]
        config = dict(type='AdamW', params=params, betas=[0, 0.5])
        assert OPTIMIZERS.build(config).param_groups[0]['betas'] == (0.0, 0.5)
        assert config['betas'] == [0, 0.5]
        sgd = OPTIMIZERS.build(dict(type='SGD', params=params, lr=0.1))
        assert isinstance(sgd, torch.optim.SGD)

    def test_registries_that_inherited_the_builder_are_patched_too(self):
        parent = Registry('optimizer of a test', scope='parent_of_test')
        child = Registry('optimizer of a test', scope='child_of_test', parent=parent)
        training._convert_betas(parent)
        parent.register_module(name='Adam', module=torch.optim.Adam)
        params = [torch.nn.Parameter(torch.zeros(1))]
        for registry in (parent, child):
            optimizer = registry.build(dict(type='Adam', params=params, betas=(0, 0.9)))
            assert optimizer.param_groups[0]['betas'] == (0.0, 0.9)


def test_a_history_of_tensors_is_that_of_their_numbers():
    values = [torch.rand((), dtype=kind) for kind in [torch.float32] * 3 + [torch.bfloat16] * 2]
    changing, counts = torch.zeros(1), [1, 2, 1, 3, 1]
    late, soon = MessageHub('late'), MessageHub('soon')
    late.load_state_dict(
        soon_state := {**soon.state_dict(), 'log_scalars': {'loss': HistoryBuffer([5.0], [1])}}
    )
    soon.load_state_dict(deepcopy(soon_state))
    for value, count in zip(values, counts, strict=True):
        changing += value
        for name, tensor in (('loss', value), ('sum', changing), ('whole', value.long())):
            late.update_scalar(name, tensor, count)
            soon.update_scalar(name, tensor.item(), count)
    for hub in (late, soon):
        hub.update_scalar('loss', 7.0)
    assert late.log_scalars['whole']._unread
    for name, history in soon.log_scalars.items():
        found = late.get_scalar(name)
        for new, old in zip(found.data, history.data, strict=True):
            assert new.dtype == old.dtype and new.tolist() == old.tolist()
        assert found.mean(3) == history.mean(3) and found.current() == history.current()
    saved = late.state_dict()['log_scalars']
    assert {type(history) for history in saved.values()} == {HistoryBuffer}
    assert saved['sum'].data[0].tolist() == soon.get_scalar('sum').data[0].tolist()


def test_a_history_that_nobody_reads_keeps_few_tensors_and_as_many_numbers_as_before(monkeypatch):
    monkeypatch.setattr(training, 'MOST_UNREAD', 4)
    hub = MessageHub('unread')
    hub.update_scalar('loss', torch.tensor(0.0))
    history = hub.get_scalar('loss')
    history.max_length = 6
    for number in range(1, 11):
        hub.update_scalar('loss', torch.tensor(float(number)))
        assert len(history._unread) <= 4
    assert history.data[0].tolist() == [5, 6, 7, 8, 9, 10]


class OwnEvaluator(Evaluator):
    """A child of mmagic's evaluator with a name of its own."""


def test_only_evaluators_that_are_no_children_of_mmagics_are_warned_of(monkeypatch):
    warnings = []
    monkeypatch.setattr(loop_utils, 'print_log', lambda text, *args: warnings.append(text))
    monkeypatch.setitem(EVALUATORS.module_dict, 'OwnEvaluator', OwnEvaluator)
    check = multi_loops.update_and_check_evaluator
    for evaluator in (dict(type='OwnEvaluator', metrics=None), OwnEvaluator(None)):
        assert check(evaluator) is evaluator
    metrics = [dict(type='KernelDistanceMetric')]
    assert check(metrics) == dict(type='Evaluator', metrics=metrics)
    assert warnings == []
    check(dict(type='Unheard', metrics=None))
    assert [text.split("'")[1] for text in warnings] == ['Unheard']
