"""Best snapshots, early stopping and warnings of overfitting work in an iteration-based run."""

from pathlib import Path

import pytest
from mmagic.evaluation.metrics.base_gen_metric import GenMetric
from mmagic.registry import METRICS

import disp_plugin.evaluation.metric_hooks  # noqa: F401
from tests.metric_cards import card

NAME = 'kid10_val_pixels'


@METRICS.register_module(force=True)
class ScriptedMetric(GenMetric):
    """A metric whose values are known before."""

    SAMPLER_MODE = 'none'
    runner = None
    asked = []

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
        self.asked.append(self.runner.iter)
        value = self.values[self.runner.iter - 1]
        self.cards = [] if value is None else [card(NAME, value)]
        return {NAME: value}


@pytest.fixture
def train(make_runner, gan_cfg, data):
    """Train with a validation of known value after each iteration, or every so many."""

    def run(values, max_iters=None, resume_from=None, hooks=(), every=1, **checkpoint):
        dataset = {'type': 'ImageFolderDataset', 'data_root': str(data[0])}
        max_iters = max_iters or len(values)
        runner = make_runner(
            gan_cfg['sngan'](prior_dim=0, sampler=None),
            max_iters,
            checkpoint={'interval': 1, 'save_best': NAME, 'rule': 'less', **checkpoint},
            train_cfg={'type': 'ResumableTrainLoop', 'max_iters': max_iters, 'val_interval': every},
            val_dataloader={
                'batch_size': 1,
                'num_workers': 0,
                'sampler': {'type': 'DefaultSampler', 'shuffle': False},
                'dataset': dataset,
            },
            val_cfg={'type': 'MultiValLoop'},
            val_evaluator={
                'type': 'Evaluator',
                'metrics': [{'type': 'ScriptedMetric', 'values': values}],
            },
            custom_hooks=[{'type': 'RandomStateHook'}, *hooks],
            resume=resume_from is not None,
            load_from=resume_from and str(resume_from),
        )
        ScriptedMetric.runner = runner
        ScriptedMetric.asked = runner.asked = []
        runner.warnings = []
        runner.logger.warning = lambda text, *args: runner.warnings.append(str(text))
        runner.train()
        return runner

    return run


def best_of(runner):
    return sorted(file.name for file in Path(runner.work_dir).glob('best_*.pth'))


def snapshot(runner, iteration):
    return Path(runner.work_dir) / f'iter_{iteration}.pth'


def test_the_best_snapshot_is_kept_by_a_held_out_metric(train):
    runner = train([5.0, 3.0, 4.0, 6.0])
    assert best_of(runner) == [f'best_{NAME}_iter_2.pth']
    assert runner.message_hub.get_info('best_score') == 3.0


@pytest.mark.slow
def test_a_resumed_run_knows_the_best_snapshot_so_far(train):
    first = train([5.0, 3.0, 4.0])
    # the checkpoint of the best iteration too, which was saved before its validation
    worse = train([5.0, 3.0, 4.0], resume_from=snapshot(first, 2))
    assert worse.message_hub.get_info('best_score') == 3.0
    assert best_of(worse) == []
    better = train([5.0, 3.0, 4.0, 2.0], resume_from=snapshot(first, 3))
    assert best_of(better) == [f'best_{NAME}_iter_4.pth']


STOP = {'type': 'ResumableEarlyStoppingHook', 'monitor': NAME, 'rule': 'less', 'patience': 2}


def test_early_stopping_ends_the_run_when_the_metric_no_longer_improves(train):
    runner = train([5.0, 3.0, 4.0, 4.0, 1.0, 1.0], hooks=[STOP])
    assert runner.iter == 4
    assert best_of(runner) == [f'best_{NAME}_iter_2.pth']
    # a number that could not be computed is no record
    gaps = train([5.0, None, 3.0, None, 4.0, None, 4.0, 1.0], hooks=[STOP])
    assert gaps.iter == 7
    assert best_of(gaps) == [f'best_{NAME}_iter_3.pth']


@pytest.mark.parametrize('stopped_at', [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_resumed_run_stops_early_where_an_uninterrupted_one_does(train, stopped_at):
    values = [5.0, 3.0, 4.0, 4.0, 4.0, 4.0]
    hooks = [{'type': 'RevalidationHook'}, STOP]
    first = train(values, max_iters=stopped_at, hooks=hooks)
    resumed = train(values, resume_from=snapshot(first, stopped_at), hooks=hooks)
    assert resumed.iter == 4


def test_only_what_a_checkpoint_does_not_know_is_validated_again(train):
    options = {'hooks': [{'type': 'RevalidationHook'}], 'every': 2}
    values = [5.0, 3.0, 4.0, 4.0, 4.0]
    first = train(values[:4], **options)
    assert first.asked == [2, 4]
    assert train(values[:4], resume_from=snapshot(first, 3), **options).asked == [4]
    # the best snapshot's checkpoint is saved once more, after its validation
    assert train(values[:4], resume_from=snapshot(first, 2), **options).asked == [4]
    assert train(values, resume_from=snapshot(first, 4), **options).asked == [4, 5]


@pytest.mark.slow
def test_a_trend_is_warned_of_once_also_over_a_resume(train):
    values = [5.0, 3.0, 4.0, 4.0, 4.0, 4.0]
    hooks = [{'type': 'RevalidationHook'}, {'type': 'OverfittingHook'}]
    words = 'has been worse for 3 validations'
    whole = train(values, hooks=hooks)
    assert sum(words in text for text in whole.warnings) == 1
    first = train(values, max_iters=4, hooks=hooks)
    assert not any(words in text for text in first.warnings)
    resumed = train(values, resume_from=snapshot(first, 4), hooks=hooks)
    assert sum(words in text for text in resumed.warnings) == 1
    again = train([*values, 4.0], resume_from=snapshot(resumed, 6), hooks=hooks)
    assert not any(words in text for text in again.warnings)
