import multiprocessing

import pytest
import torch


@pytest.fixture
def train(make_runner, gan_cfg):
    """Train the unconditional SNGAN; give the runner and the warnings it logged."""

    def run(max_iters, resume_from=None, **options):
        runner = make_runner(
            gan_cfg['sngan'](prior_dim=0, sampler=None),
            max_iters,
            checkpoint={'interval': 1},
            resume=resume_from is not None,
            load_from=resume_from,
            **options,
        )
        warnings = []
        runner.logger.warning = warnings.append
        runner.train()
        return runner, warnings

    return run


def checkpoint_of(runner, num_iters):
    return f'{runner.work_dir}/iter_{num_iters}.pth'


def test_after_another_batch_size_the_images_go_on_in_order_and_it_is_said(train, decoded):
    first, _ = train(4, batch_size=2)
    whole = list(decoded)
    decoded.clear()
    resumed, warnings = train(4, checkpoint_of(first, 2), batch_size=4)
    assert decoded[:4] == whole[4:]
    assert len(decoded) == 8
    assert any('drew 4 images, but with 4 images an iteration' in text for text in warnings)
    assert resumed.message_hub.get_info('num_train_draws') == 4 + 8


def of_others(folder, *flip):
    """A data set of mmagic's with its own pipeline, as other people have them."""
    return {
        'type': 'BasicImageDataset',
        'data_root': str(folder),
        'data_prefix': {'gt': ''},
        'pipeline': [
            {'type': 'LoadImageFromFile', 'key': 'gt'},
            {'type': 'Resize', 'keys': 'gt', 'scale': (16, 16)},
            *flip,
            {'type': 'PackInputs'},
        ],
    }


FLIP = {'type': 'Flip', 'keys': 'gt', 'flip_ratio': 0.5, 'direction': 'horizontal'}


def test_seeded_draws_with_a_sampler_that_knows_no_passes_are_refused(train, data):
    with pytest.raises(
        ValueError, match=r"needs sampler=dict\(type='ResumableSampler'\), but .* InfiniteSampler"
    ):
        train(
            1,
            sampler={'type': 'InfiniteSampler'},
            dataset={'type': 'SeededDraws', 'dataset': of_others(data[0])},
        )


def test_with_a_sampler_that_cannot_skip_the_past_is_read_again_and_it_is_said(train, decoded):
    options = {'sampler': {'type': 'InfiniteSampler'}}
    first, _ = train(3, **options)
    whole = list(decoded)
    decoded.clear()
    _, warnings = train(3, checkpoint_of(first, 2), **options)
    assert decoded == whole
    assert any('InfiniteSampler cannot skip: the 2 batches of the past' in w for w in warnings)


def test_others_data_sets_are_exact_in_seeded_draws_and_warned_of_without(train, data):
    other = of_others(data[0], FLIP)
    for dataset, is_exact in (({'type': 'SeededDraws', 'dataset': other}, True), (other, False)):
        first, _ = train(5, dataset=dataset)
        resumed, warnings = train(5, checkpoint_of(first, 2), dataset=dataset)
        expected, found = first.model.state_dict(), resumed.model.state_dict()
        assert all(torch.equal(v, found[name]) for name, v in expected.items()) == is_exact
        assert any('does not take positions' in text for text in warnings) != is_exact


def test_workers_do_not_start_before_it_is_known_where(make_runner, gan_cfg):
    runner = make_runner(gan_cfg['sngan'](prior_dim=0, sampler=None), 2, num_workers=2)
    loop = runner.build_train_loop(runner._train_loop)
    assert loop.dataloader._iterator is None
    assert next(loop.dataloader_iterator).keys() == {'inputs', 'data_samples'}
    assert loop.dataloader._iterator is not None


def test_no_worker_outlives_the_training(train):
    before = {process.pid for process in multiprocessing.active_children()}
    runner, _ = train(2, num_workers=2)
    assert runner.iter == 2
    assert {process.pid for process in multiprocessing.active_children()} <= before
