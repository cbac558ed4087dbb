"""Children of mmagic's evaluator pass without a warning; others are still warned of."""

import pytest
from mmagic.engine.runner import loop_utils, multi_loops
from mmagic.evaluation.evaluator import Evaluator
from mmagic.registry import EVALUATORS

import disp_plugin.register  # noqa: F401


class OwnEvaluator(Evaluator):
    """A child of mmagic's evaluator with a name of its own."""


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(loop_utils, 'print_log', lambda text, *args: said.append(text))
    return said


@pytest.fixture
def own_type():
    EVALUATORS.register_module(module=OwnEvaluator, force=True)
    yield 'OwnEvaluator'
    EVALUATORS.module_dict.pop('OwnEvaluator')


def test_children_pass_as_they_are(warnings, own_type):
    for evaluator in (dict(type=own_type, metrics=None), OwnEvaluator(None)):
        assert multi_loops.update_and_check_evaluator(evaluator) is evaluator
    assert warnings == []


def test_others_are_warned_of(warnings):
    multi_loops.update_and_check_evaluator(dict(type='Unheard', metrics=None))
    assert [text.split("'")[1] for text in warnings] == ['Unheard']


def test_a_list_becomes_mmagics_evaluator(warnings):
    metrics = [dict(type='KernelDistanceMetric')]
    assert multi_loops.update_and_check_evaluator(metrics) == dict(
        type='Evaluator', metrics=metrics
    )
    assert warnings == []
