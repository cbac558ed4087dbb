"""A run that is stopped and resumed ends with the weights of one that was not, bit for bit."""

import functools
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope='session')
def hooks(visualization):
    return [
        {'type': 'PriorSamplerHook'},
        {'type': 'RandomStateHook'},
        {'type': 'EMABatchNormHook', 'num_batches': 2, 'batch_size': 4},
        visualization(3),
    ]


@pytest.fixture(scope='session')
def train(make_runner, gan_cfg, hooks):
    """Train a GAN up to an iteration, from the start or from a checkpoint; give the work folder."""

    def run(gan, max_iters, resume_from=None, **options):
        options.setdefault('custom_hooks', hooks)
        runner = make_runner(
            gan_cfg[gan](),
            max_iters,
            checkpoint={'interval': 1},
            resume=resume_from is not None,
            load_from=None if resume_from is None else str(resume_from),
            **options,
        )
        runner.train()
        return Path(runner.work_dir)

    return run


@pytest.fixture(scope='session')
def whole(train):
    """A function: name of a GAN -> work folder of its uninterrupted run of 7 iterations."""
    return functools.cache(lambda gan: train(gan, 7))


def load(work_dir, num_iters=7):
    return torch.load(work_dir / f'iter_{num_iters}.pth', weights_only=False)


def flatten(value, name=''):
    """All tensors and numbers of a checkpoint's part, by name."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from flatten(item, f'{name}.{key}')
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from flatten(item, f'{name}.{index}')
    else:
        yield name, value


def assert_same(first, second):
    first, second = dict(flatten(first)), dict(flatten(second))
    assert first.keys() == second.keys()
    for name, value in first.items():
        is_tensor = isinstance(value, torch.Tensor)
        assert torch.equal(value, second[name]) if is_tensor else value == second[name], name


# G is updated every 2nd (BigGAN) or 3rd (SNGAN) iteration: these lie on and between.
@pytest.mark.parametrize(
    ('gan', 'stop', 'num_workers'),
    [
        ('biggan', 3, 0),
        pytest.param('biggan', 4, 2, marks=pytest.mark.slow),
        ('sngan', 3, 2),
        pytest.param('sngan', 5, 0, marks=pytest.mark.slow),
        ('stylegan2', 2, 0),
        pytest.param('stylegan2', 5, 0, marks=pytest.mark.slow),
    ],
)
def test_weights_and_ema_are_those_of_the_uninterrupted_run(train, whole, gan, stop, num_workers):
    expected = load(whole(gan))
    # The random generators of the resumed process start anywhere.
    torch.manual_seed(stop)
    checkpoint = whole(gan) / f'iter_{stop}.pth'
    resumed = load(train(gan, 7, checkpoint, num_workers=num_workers))
    for part in ('state_dict', 'optimizer', 'random_state'):
        assert_same(expected[part], resumed[part])
    assert expected['meta']['iter'] == resumed['meta']['iter'] == 7
    assert any('generator_ema' in name for name in resumed['state_dict'])


def test_augmentation_strength_and_path_length_are_in_the_checkpoint(whole):
    state = load(whole('stylegan2'))['state_dict']
    augmentation = 'discriminator.discriminator.ada_aug'
    # moved at iterations 2, 4 and 6 by 2 batches of 4 images in 1000; then one batch counted
    p = state[f'{augmentation}.aug_pipeline.p']
    steps = (p - 0.3) / (2 * 4 / 1000)
    assert 0 < abs(steps.round()) <= 3 and abs(steps - steps.round()) < 1e-3
    assert state[f'{augmentation}.log_buffer'][0] == 4
    assert state['gen_auxiliary_losses.0.mean_path_length'] > 0
    assert state['generator.w_avg'].any()


@pytest.mark.slow
def test_a_run_that_was_stopped_twice_is_exact_too(train, whole):
    second = train('sngan', 4, whole('sngan') / 'iter_2.pth')
    third = train('sngan', 7, second / 'iter_4.pth')
    assert_same(load(whole('sngan'))['state_dict'], load(third)['state_dict'])


@pytest.mark.slow
def test_without_a_seed_in_the_config_the_checkpoint_has_it(train):
    work_dir = train('sngan', 4, randomness={'seed': None})
    resumed = train('sngan', 4, work_dir / 'iter_2.pth', randomness={'seed': None})
    assert_same(load(work_dir, 4)['state_dict'], load(resumed, 4)['state_dict'])


def test_no_batch_of_the_past_is_decoded_again(train, decoded):
    work_dir = train('sngan', 5)
    assert len(decoded) == 5 * 4
    future = decoded[3 * 4 :]
    decoded.clear()
    train('sngan', 5, work_dir / 'iter_3.pth')
    assert decoded == future


def test_without_the_hook_for_random_states_it_would_not_be_exact(train, whole, hooks):
    """The tests above can fail: this is what they see when a part is missing."""
    hooks = [hook for hook in hooks if hook['type'] != 'RandomStateHook']
    resumed = train('sngan', 7, whole('sngan') / 'iter_5.pth', custom_hooks=hooks)
    with pytest.raises(AssertionError):
        assert_same(load(whole('sngan'))['state_dict'], load(resumed)['state_dict'])
