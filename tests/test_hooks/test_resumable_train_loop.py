import multiprocessing

import pytest

from tests.test_hooks.tiny_runs import find_differences, snapshot

ENDLESS = dict(type='InfiniteSampler')


def test_after_another_batch_size_the_images_go_on_in_order_and_it_is_said(train, decoded):
    first = train('plain', 4, batch_size=2)
    whole = list(decoded)
    decoded.clear()
    resumed = train('plain', 4, resume_from=snapshot(first, 2), batch_size=4)
    assert decoded[:4] == whole[4:] and len(decoded) == 8
    words = 'drew 4 images, but with 4 images an iteration'
    assert any(words in text for text in resumed.warnings)
    assert resumed.message_hub.get_info('num_train_draws') == 4 + 8


def of_others(folder):
    """A data set of mmagic's with its own pipeline, as other people have them."""
    steps = [
        dict(type='LoadImageFromFile', key='gt'),
        dict(type='Resize', keys='gt', scale=(16, 16)),
        dict(type='Flip', keys='gt', flip_ratio=0.5, direction='horizontal'),
        dict(type='PackInputs'),
    ]
    prefix = dict(gt='')
    return dict(type='BasicImageDataset', data_root=str(folder), data_prefix=prefix, pipeline=steps)


def test_seeded_draws_with_a_sampler_that_knows_no_passes_are_refused(train, data):
    seeded = dict(type='SeededDraws', dataset=of_others(data[0]))
    with pytest.raises(
        ValueError, match=r"needs sampler=dict\(type='ResumableSampler'\), but .* InfiniteSampler"
    ):
        train('plain', 1, sampler=ENDLESS, dataset=seeded)


def test_with_a_sampler_that_cannot_skip_the_past_is_read_again_and_it_is_said(train, decoded):
    first = train('plain', 3, sampler=ENDLESS)
    whole = list(decoded)
    decoded.clear()
    resumed = train('plain', 3, resume_from=snapshot(first, 2), sampler=ENDLESS)
    assert decoded == whole
    words = 'InfiniteSampler cannot skip: the 2 batches of the past'
    assert any(words in text for text in resumed.warnings)


@pytest.mark.parametrize('is_seeded', [True, False])
def test_others_data_sets_are_exact_in_seeded_draws_and_warned_of_without(train, data, is_seeded):
    dataset = of_others(data[0])
    if is_seeded:
        dataset = dict(type='SeededDraws', dataset=dataset)
    first = train('plain', 5, dataset=dataset)
    resumed = train('plain', 5, resume_from=snapshot(first, 2), dataset=dataset)
    different = find_differences(first.model.state_dict(), resumed.model.state_dict())
    assert bool(different) != is_seeded
    assert any('does not take positions' in text for text in resumed.warnings) != is_seeded


def test_workers_start_when_it_is_known_where_and_end_with_the_training(make):
    before = {process.pid for process in multiprocessing.active_children()}
    runner = make('plain', 2, num_workers=2)
    loop = runner.build_train_loop(runner._train_loop)
    assert loop.dataloader._iterator is None
    runner.train()
    assert runner.iter == 2
    assert {process.pid for process in multiprocessing.active_children()} <= before
