"""The hook says what is new in a validation, once."""

from types import SimpleNamespace

import pytest
from mmagic.registry import HOOKS
from mmengine.logging import MessageHub

import disp_plugin.evaluation.metric_hooks  # noqa: F401
from tests.metric_cards import card

NAME = 'copying1000_val_pixels'


def loop_with(values):
    """A loop whose evaluator has the cards of these numbers."""
    cards = [card(name, value) for name, value in (values or {}).items()]
    metric = SimpleNamespace(cards=cards)
    return SimpleNamespace(evaluators=[SimpleNamespace(metrics=[metric])])


@pytest.fixture
def validate():
    """A function (metrics, iteration) -> what the hook warned of and told."""
    hub = MessageHub('test_overfitting_hook')
    hook = HOOKS.build({'type': 'OverfittingHook'})

    def run(metrics, iteration=1, hook=hook):
        said = SimpleNamespace(warned=[], told=[])
        logger = SimpleNamespace(warning=said.warned.append, info=said.told.append)
        runner = SimpleNamespace(
            iter=iteration,
            _train_loop=object(),
            val_loop=loop_with(metrics),
            message_hub=hub,
            logger=logger,
        )
        hook.after_val_epoch(runner, metrics)
        return said

    run.hub = hub
    return run


def test_a_finding_is_warned_of_once_in_plain_words_until_it_changes(validate):
    (text,) = validate({NAME: -4.0}, 1).warned
    assert text.startswith('C_T is -4.0 (split val, space pixels): samples lie closer')
    assert '(rule: C_T below -3' in text
    assert validate({NAME: -5.0}, 2).warned == []
    assert validate(None, 3).warned == []
    gone = validate({NAME: 0.0}, 4)
    assert gone.warned == [] and f'copying by {NAME}' in gone.told[0]
    assert len(validate({NAME: -4.0}, 5).warned) == 1


def test_what_any_run_shows_that_is_still_learning_is_no_sign(validate):
    fid, floor = 'fid1000_val_pixels', 'fid_floor1000_val_pixels'
    assert validate({NAME: 9.0, fid: 8.0, floor: 1.0}, 1).warned == []
    assert validate({NAME: 9.0, fid: 5.0, floor: 1.0}, 2).warned == []
    (text,) = validate({NAME: 9.0, fid: 5.1, floor: 1.0}, 3).warned
    assert 'repeating the training images would do as well' in text
    assert validate({NAME: 9.0, fid: 0.9, floor: 1.0}, 4).warned == []


def test_what_a_resume_undid_is_forgotten(validate):
    for iteration in (1, 2, 3):
        validate({'disc_gap_val': iteration / 10}, iteration)
    validate({'disc_gap_val': 0.2}, 2)
    history = validate.hub.get_info('overfitting_history')
    assert history == [[1, {'disc_gap_val': 0.1}], [2, {'disc_gap_val': 0.2}]]


def test_a_growing_gap_is_seen_over_validations_by_another_hook_too(validate):
    for iteration in (1, 2):
        assert validate({'disc_gap_val': iteration / 10}, iteration).warned == []
    resumed = HOOKS.build({'type': 'OverfittingHook'})
    (text,) = validate({'disc_gap_val': 0.3}, 3, resumed).warned
    assert 'the gap has grown over the last 3 validations' in text


def test_a_runner_that_only_validates_is_not_asked_for_its_training():
    class Runner:
        _train_loop = {'type': 'IterBasedTrainLoop'}
        val_loop = loop_with({NAME: -4.0})
        message_hub = MessageHub('test_overfitting_hook_alone')
        warned = []
        logger = SimpleNamespace(warning=warned.append, info=lambda text: None)

        @property
        def iter(self):
            raise AssertionError('the training was built')

    HOOKS.build({'type': 'OverfittingHook'}).after_val_epoch(Runner(), {NAME: -4.0})
    assert len(Runner.warned) == 1
    assert Runner.message_hub.get_info('overfitting_history') == [[0, {NAME: -4.0}]]
