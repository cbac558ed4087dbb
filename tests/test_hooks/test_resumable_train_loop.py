import multiprocessing

import pytest


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


def test_a_second_resume_after_another_batch_size_goes_on_in_order_too(train, decoded):
    first, _ = train(2, batch_size=2)
    second, _ = train(3, checkpoint_of(first, 2), batch_size=4)
    decoded.clear()
    train(4, checkpoint_of(second, 3), batch_size=2)
    third = list(decoded)
    decoded.clear()
    train(5, batch_size=2)
    assert third == decoded[8:]


def test_an_uninterrupted_run_warns_of_nothing(train):
    _, warnings = train(2)
    assert [text for text in warnings if 'advance' in str(text).lower()] == []


def test_draws_with_a_sampler_that_knows_no_passes_are_refused(train):
    with pytest.raises(
        ValueError, match=r"needs sampler=dict\(type='ResumableSampler'\), but .* InfiniteSampler"
    ):
        train(1, sampler={'type': 'InfiniteSampler'})


def test_with_a_sampler_that_cannot_skip_the_past_is_read_again_and_it_is_said(
    train, decoded, data
):
    folder, _ = data
    steps = [{'type': 'LoadTrainingImage'}, {'type': 'Resize', 'keys': 'gt', 'scale': (16, 16)}]
    loader = {
        'batch_size': 4,
        'num_workers': 0,
        'sampler': {'type': 'InfiniteSampler'},
        'dataset': {
            'type': 'ImageFolderDataset',
            'data_root': str(folder),
            'pipeline': [*steps, {'type': 'PackInputs'}],
        },
    }
    first, _ = train(3, train_dataloader=loader)
    whole = list(decoded)
    decoded.clear()
    _, warnings = train(3, checkpoint_of(first, 2), train_dataloader=loader)
    assert decoded == whole
    assert any('InfiniteSampler cannot skip: the 2 batches of the past' in w for w in warnings)


def test_random_transforms_without_seeded_draws_are_warned_of(train, data):
    folder, _ = data
    steps = [{'type': 'LoadTrainingImage'}, {'type': 'Resize', 'keys': 'gt', 'scale': (16, 16)}]
    loader = {
        'batch_size': 4,
        'num_workers': 0,
        'sampler': {'type': 'ResumableSampler'},
        'dataset': {
            'type': 'ImageFolderDataset',
            'data_root': str(folder),
            'pipeline': [*steps, {'type': 'PackInputs'}],
        },
    }
    first, _ = train(2, train_dataloader=loader)
    _, warnings = train(3, checkpoint_of(first, 2), train_dataloader=loader)
    assert any('does not take positions' in text for text in warnings)


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
