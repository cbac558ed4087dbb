"""Best snapshots, early stopping and warnings of overfitting work in an iteration-based run."""

from pathlib import Path

import pytest
from mmagic.evaluation.metrics.base_gen_metric import GenMetric
from mmagic.registry import METRICS

import disp_plugin.evaluation.metric_hooks  # noqa: F401
from tests.metric_cards import card
from tests.test_hooks.tiny_runs import assert_same, load, snapshot

NAME = 'kid10_val_pixels'
AGAIN = dict(type='RevalidationHook')
STOP = dict(type='ResumableEarlyStoppingHook', monitor=NAME, rule='less', patience=2)


@METRICS.register_module(force=True)
class ScriptedMetric(GenMetric):
    """A metric whose values are known before."""

    SAMPLER_MODE = 'none'
    asked_at = []

    def __init__(self, values):
        super().__init__(0, sample_model='orig')
        self.values = values

    def prepare(self, module, dataloader):
        """Nothing to prepare."""

    def get_metric_sampler(self, model, dataloader, metrics):
        return []

    def process(self, data_batch, data_samples):
        """Nothing to process."""

    def evaluate(self):
        iteration = ScriptedMetric.runner.iter
        self.asked_at.append(iteration)
        value = self.values[iteration - 1]
        self.cards = [] if value is None else [card(NAME, value)]
        return {NAME: value}


@pytest.fixture
def train(make, data):
    """Train with a validation of known value after each iteration, or every so many."""

    def run(values, max_iters=None, every=1, **options):
        max_iters = max_iters or len(values)
        loader = dict(
            batch_size=1,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(type='ImageFolderDataset', data_root=str(data[0])),
        )
        runner = make(
            'plain',
            max_iters,
            checkpoint=dict(save_best=NAME, rule='less'),
            train_cfg=dict(type='ResumableTrainLoop', max_iters=max_iters, val_interval=every),
            val_dataloader=loader,
            val_cfg=dict(type='MultiValLoop'),
            val_evaluator=dict(
                type='Evaluator', metrics=[dict(type='ScriptedMetric', values=values)]
            ),
            **options,
        )
        ScriptedMetric.runner = runner
        ScriptedMetric.asked_at = runner.asked_at = []
        runner.train()
        return runner

    return run


def best_of(runner):
    return sorted(file.name for file in Path(runner.work_dir).glob('best_*.pth'))


def test_the_best_snapshot_is_kept_by_a_held_out_metric_also_over_a_resume(train):
    first = train([5.0, 3.0, 4.0])
    assert best_of(first) == [f'best_{NAME}_iter_2.pth']
    assert first.message_hub.get_info('best_score') == 3.0
    # the checkpoint of the best iteration too, which was saved before its validation
    worse = train([5.0, 3.0, 4.0], resume_from=snapshot(first, 2))
    assert worse.message_hub.get_info('best_score') == 3.0
    assert best_of(worse) == []
    better = train([5.0, 3.0, 4.0, 2.0], resume_from=snapshot(first, 3))
    assert best_of(better) == [f'best_{NAME}_iter_4.pth']


@pytest.mark.parametrize(
    ('values', 'end', 'best'),
    [
        ([5.0, 3.0, 4.0, 4.0, 1.0, 1.0], 4, 2),
        # a number that could not be computed is no record
        ([5.0, None, 3.0, None, 4.0, None, 4.0, 1.0], 7, 3),
    ],
)
def test_early_stopping_ends_a_run_when_the_metric_no_longer_improves(train, values, end, best):
    runner = train(values, hooks=[STOP])
    assert runner.iter == end
    assert best_of(runner) == [f'best_{NAME}_iter_{best}.pth']


@pytest.mark.parametrize('stopped_at', [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_resumed_run_stops_early_where_an_uninterrupted_one_does(train, stopped_at):
    values = [5.0, 3.0, 4.0, 4.0, 4.0, 4.0]
    first = train(values, max_iters=stopped_at, hooks=[AGAIN, STOP])
    resumed = train(values, resume_from=snapshot(first, stopped_at), hooks=[AGAIN, STOP])
    assert resumed.iter == 4


def test_only_what_a_checkpoint_does_not_know_is_validated_again(train):
    options = dict(hooks=[AGAIN], every=2)
    values = [5.0, 3.0, 4.0, 4.0, 4.0]
    first = train(values[:4], **options)
    assert first.asked_at == [2, 4]
    # the best snapshot's checkpoint is saved once more, after its validation
    for stop, end, expected in [(3, 4, [4]), (2, 4, [4]), (4, 5, [4, 5])]:
        resumed = train(values[:end], resume_from=snapshot(first, stop), **options)
        assert resumed.asked_at == expected


def test_a_validation_before_the_first_step_of_a_resume_changes_no_step(train):
    """Starting the data loader draws a number, in between."""
    options = dict(hooks=[AGAIN], every=2)
    values = [5.0, 3.0, 4.0, 4.0, 4.0]
    whole = train(values, **options)
    resumed = train(values, resume_from=snapshot(whole, 4), **options)
    assert resumed.asked_at == [4, 5]
    for part in ('state_dict', 'random_state'):
        assert_same(load(resumed, 5)[part], load(whole, 5)[part])


@pytest.mark.slow
def test_a_trend_is_warned_of_once_also_over_a_resume(train):
    values = [5.0, 3.0, 4.0, 4.0, 4.0, 4.0]
    hooks = [AGAIN, dict(type='OverfittingHook')]

    def count(values, **options):
        runner = train(values, hooks=hooks, **options)
        words = 'has been worse for 3 validations'
        return runner, sum(words in text for text in runner.warnings)

    assert count(values)[1] == 1
    first, num_warnings = count(values, max_iters=4)
    assert num_warnings == 0
    resumed, num_warnings = count(values, resume_from=snapshot(first, 4))
    assert num_warnings == 1
    assert count([*values, 4.0], resume_from=snapshot(resumed, 6))[1] == 0
