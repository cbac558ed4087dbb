import random
import re
import types

import numpy as np
import pytest
import torch
from mmagic.registry import HOOKS
from mmengine.hooks import Hook

from disp_plugin.hooks import RandomStateHook, random_state_hook
from disp_plugin.hooks.random_state_hook import RandomState


def draw():
    return (
        random.random(),
        random.gauss(0, 1),
        np.random.random(),
        np.random.standard_normal(),
        torch.rand(2).tolist(),
        torch.randn(3).tolist(),
    )


class Greedy(Hook):
    """Draws from every generator wherever a hook may look on."""

    priority = 'NORMAL'

    def draw(self, *args, **kwargs):
        draw()

    after_train_iter = before_val = after_val = before_save_checkpoint = draw


@pytest.fixture
def make(make_runner, gan_cfg):
    def build(max_iters=2, **options):
        return make_runner(
            gan_cfg['sngan'](prior_dim=0, sampler=None),
            max_iters,
            custom_hooks=[{'type': 'RandomStateHook'}],
            checkpoint={'interval': 1},
            **options,
        )

    return build


def random_state_of(runner):
    state = torch.load(f'{runner.work_dir}/iter_1.pth', weights_only=False)['random_state']
    return str(state['ranks'])


def test_a_state_goes_through_a_file_that_trusts_nothing_and_comes_back(tmp_path):
    draw()  # leaves a cached second normal number in Python and NumPy
    state = RandomState.get()
    torch.save(state.pack(), tmp_path / 'state.pth')
    expected = draw()
    RandomState.unpack(torch.load(tmp_path / 'state.pth', weights_only=True)).set()
    assert draw() == expected


def test_training_does_not_notice_what_hooks_draw(make):
    quiet = make()
    quiet.train()
    torch.rand(5)
    greedy = make()
    greedy.register_hook(Greedy())
    greedy.train()
    for name, value in quiet.model.state_dict().items():
        assert torch.equal(value, greedy.model.state_dict()[name]), name
    assert random_state_of(quiet) == random_state_of(greedy)


@pytest.mark.slow
def test_without_it_training_does_notice(make_runner, gan_cfg):
    states = []
    for hook in (Greedy(), Hook()):
        runner = make_runner(gan_cfg['sngan'](prior_dim=0, sampler=None), custom_hooks=[])
        runner.register_hook(hook)
        runner.train()
        states.append(runner.model.state_dict())
    assert any(not torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize('stage', ['val', 'test'])
def test_validation_and_test_leave_no_trace(make, stage):
    runner = make()
    runner.register_hook(Greedy())
    runner.call_hook('before_run')
    state = RandomState.get()
    expected = draw()
    state.set()
    runner.call_hook(f'before_{stage}')
    draw()
    runner.call_hook(f'after_{stage}')
    assert draw() == expected


def test_a_checkpoint_saved_during_validation_has_the_state_of_training(make):
    runner = make()
    runner.call_hook('before_run')
    before = RandomState.get().pack()
    runner.call_hook('before_val')
    draw()
    checkpoint = {}
    runner.call_hook('before_save_checkpoint', checkpoint=checkpoint)
    assert str(checkpoint['random_state']) == str({'world_size': 1, 'ranks': [before]})


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda checkpoint: checkpoint.pop('random_state'), 'holds no state of the random'),
        (
            lambda checkpoint: checkpoint['random_state'].update(world_size=4),
            'was written by 4 processes.*seeded anew',
        ),
    ],
)
def test_a_checkpoint_without_states_or_of_other_processes_is_said_to_be_so(
    make, tmp_path, change, words
):
    first = make()
    first.train()
    checkpoint = torch.load(f'{first.work_dir}/iter_2.pth', weights_only=False)
    change(checkpoint)
    torch.save(checkpoint, tmp_path / 'changed.pth')
    runner = make(3, resume=True, load_from=str(tmp_path / 'changed.pth'))
    warnings = []
    runner.logger.warning = warnings.append
    runner.train()
    assert re.search(words, ' '.join(map(str, warnings)))


def test_seeding_anew_depends_on_seed_and_iteration():
    drawn = []
    for seed, num_iters in [(1, 5), (1, 5), (2, 5), (1, 6)]:
        RandomStateHook._seed_anew(types.SimpleNamespace(seed=seed, iter=num_iters))
        drawn.append(str(draw()))
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


@pytest.mark.slow
def test_loading_weights_only_does_not_bring_back_old_noise(make):
    first = make()
    first.train()
    states = []
    for load_from in (f'{first.work_dir}/iter_2.pth', None):
        runner = make(1, load_from=load_from)
        torch.manual_seed(123)
        runner.train()
        states.append(random_state_of(runner))
    assert states[0] == states[1]


def test_every_process_has_its_state_in_the_checkpoint_and_gets_it_back(make, monkeypatch):
    """Two processes, of which the other one's part is played by the test."""
    runner = make()
    hook = HOOKS.build({'type': 'RandomStateHook', '_scope_': 'mmagic'})
    other = RandomState.get().pack()
    draw()
    gathered = []

    def gather(state):
        gathered.append(state)
        return [state, other]

    monkeypatch.setattr(random_state_hook, 'get_world_size', lambda: 2)
    monkeypatch.setattr(random_state_hook, 'all_gather_object', gather)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    hook.after_train_iter(runner, 0)
    checkpoint = {}
    hook.before_save_checkpoint(runner, checkpoint)
    assert len(gathered) == 1 and len(checkpoint['random_state']['ranks']) == 2

    RandomState.unpack(other).set()
    expected = draw()
    draw()
    monkeypatch.setattr(random_state_hook, 'get_rank', lambda: 1)
    runner.train_loop._iter = 1
    hook = RandomStateHook()
    hook.after_load_checkpoint(runner, checkpoint)
    hook.before_train_iter(runner, 1)
    assert draw() == expected


def test_processes_meet_only_where_a_checkpoint_is_due(make_runner, gan_cfg, monkeypatch):
    meetings = []
    monkeypatch.setattr(random_state_hook, 'get_world_size', lambda: 2)
    monkeypatch.setattr(
        random_state_hook, 'all_gather_object', lambda state: meetings.append(loop.iter) or [state]
    )
    runner = make_runner(
        gan_cfg['sngan'](prior_dim=0, sampler=None),
        8,
        checkpoint={'interval': 3, 'save_last': True},
    )
    loop = runner._train_loop = runner.build_train_loop(runner._train_loop)
    hook = RandomStateHook()
    for loop._iter in range(8):
        hook.after_train_iter(runner, loop.iter)
    assert meetings == [2, 5, 7]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_the_state_of_cuda_comes_back_too(tmp_path):
    state = RandomState.get()
    torch.save(state.pack(), tmp_path / 'state.pth')
    expected = torch.rand(3, device='cuda').tolist()
    loaded = torch.load(tmp_path / 'state.pth', weights_only=True, map_location='cuda')
    RandomState.unpack(loaded).set()
    assert torch.rand(3, device='cuda').tolist() == expected
