"""A run that is stopped and resumed ends with the weights of one that was not, bit for bit."""

import functools
from pathlib import Path

import pytest
import torch

from disp_plugin.datasets import image_folder_dataset
from tests.test_hooks.tiny_runs import (
    EMA_BATCH_NORM,
    assert_same,
    find_differences,
    load,
    snapshot,
    visualization,
)

HOOKS = [EMA_BATCH_NORM, visualization(3)]


@pytest.fixture(scope='session')
def whole(train):
    """A function: name of a GAN -> its uninterrupted run of 7 iterations."""
    return functools.cache(lambda gan: train(gan, 7, hooks=HOOKS))


# G is updated every 2nd (BigGAN) or 3rd (SNGAN) iteration: these lie on and between.
@pytest.mark.parametrize(
    ('gan', 'stops', 'num_workers'),
    [
        ('biggan', [3], 0),
        pytest.param('biggan', [4], 2, marks=pytest.mark.slow),
        ('sngan', [3], 2),
        pytest.param('sngan', [2, 5], 0, marks=pytest.mark.slow),
        ('stylegan2', [2], 0),
        pytest.param('stylegan2', [5], 0, marks=pytest.mark.slow),
        ('fastgan', [3], 0),
    ],
)
def test_all_that_training_needs_is_that_of_the_uninterrupted_run(
    train, whole, gan, stops, num_workers
):
    run = whole(gan)
    for stop, end in zip(stops, [*stops[1:], 7], strict=True):
        torch.manual_seed(stop)  # the random generators of a resumed process start anywhere
        run = train(gan, end, resume_from=snapshot(run, stop), hooks=HOOKS, num_workers=num_workers)
    expected, resumed = load(whole(gan), 7), load(run, 7)
    for part in ('state_dict', 'optimizer', 'random_state'):
        assert_same(expected[part], resumed[part])
    assert expected['meta']['iter'] == resumed['meta']['iter'] == 7
    assert any('generator_ema' in name for name in resumed['state_dict'])


@pytest.mark.parametrize(
    'gan',
    ['sngan', *(pytest.param(gan, marks=pytest.mark.slow) for gan in ('biggan', 'stylegan2'))],
)
def test_in_bfloat16_and_with_a_fused_optimizer_too(train, gan):
    optimizer = dict(type='Adam', lr=0.001, betas=(0.0, 0.9), fused=True)
    part = dict(type='PrecisionOptimWrapper', precision='bfloat16', optimizer=optimizer)
    wrappers = dict(
        constructor='MultiOptimWrapperConstructor',
        generator=part,
        discriminator=dict(part, accumulative_counts=2),
    )
    whole = train(gan, 7, hooks=HOOKS, optim_wrapper=wrappers)
    stop = snapshot(whole, 4)
    resumed = train(gan, 7, hooks=HOOKS, optim_wrapper=wrappers, resume_from=stop)
    for part in ('state_dict', 'optimizer', 'random_state'):
        assert_same(load(whole, 7)[part], load(resumed, 7)[part])
    assert load(resumed, 7)['optimizer']['generator']['precision'] == 'bfloat16'
    assert not any('bit for bit' in text for text in resumed.warnings)


def test_augmentation_strength_and_path_length_are_in_the_checkpoint(whole):
    state = load(whole('stylegan2'), 7)['state_dict']
    augmentation = 'discriminator.discriminator.ada_aug'
    # moved at iterations 2, 4 and 6 by 2 batches of 4 images in 1000; then one batch counted
    steps = (state[f'{augmentation}.aug_pipeline.p'] - 0.3) / (2 * 4 / 1000)
    assert 0 < abs(steps.round()) <= 3 and abs(steps - steps.round()) < 1e-3
    assert state[f'{augmentation}.log_buffer'][0] == 4
    assert state['gen_auxiliary_losses.0.mean_path_length'] > 0
    assert state['generator.w_avg'].any()


@pytest.mark.slow
def test_without_a_seed_in_the_config_the_checkpoint_has_it(train):
    whole = train('sngan', 4, randomness=dict(seed=None))
    resumed = train('sngan', 4, resume_from=snapshot(whole, 2), randomness=dict(seed=None))
    assert not find_differences(whole.model.state_dict(), resumed.model.state_dict())


def test_no_batch_of_the_past_is_decoded_again(train, decoded):
    run = train('sngan', 5)
    assert len(decoded) == 5 * 4
    future = decoded[3 * 4 :]
    decoded.clear()
    train('sngan', 5, resume_from=snapshot(run, 3))
    assert decoded == future


def test_images_that_are_kept_in_memory_change_nothing_and_are_decoded_once(
    make, whole, decoded, monkeypatch
):
    expected = whole('sngan').model.state_dict()
    free = 4 * 6 * 3 * 16 * 16  # of which 0.25 are allowed: room for six of ten images
    monkeypatch.setattr(image_folder_dataset, 'free_memory', lambda: free)
    run, told = make('sngan', 7, hooks=HOOKS), []
    monkeypatch.setattr(run.logger, 'info', lambda text, *args: told.append(str(text)))
    run.train()
    assert not find_differences(expected, run.model.state_dict())
    kept = [name for name in decoded if Path(name).stem < 'image_0006']
    # the batch across two passes has one of them twice
    assert len(set(kept)) == 6 and len(kept) <= 7 and len(decoded) > 10
    assert any('images: 6 of 10 images are kept in memory' in text for text in told)


def test_without_the_hook_for_random_states_it_would_not_be_exact(train, whole):
    """The tests above can fail: this is what they see when a part is missing."""
    hooks = [dict(type='PriorSamplerHook'), *HOOKS]
    run = train('sngan', 7, resume_from=snapshot(whole('sngan'), 5), custom_hooks=hooks)
    assert find_differences(load(whole('sngan'), 7)['state_dict'], load(run, 7)['state_dict'])
