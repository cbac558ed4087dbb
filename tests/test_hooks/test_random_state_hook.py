import random
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook

from disp_plugin.hooks import RandomStateHook, random_state_hook
from disp_plugin.hooks.random_state_hook import get_random_state, set_random_state
from tests.test_hooks.tiny_runs import find_differences, load, snapshot


def draw():
    """One draw of every kind; Python and NumPy keep a second normal number for the next."""
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


def test_a_state_goes_through_a_file_that_trusts_nothing_and_comes_back(tmp_path):
    draw()
    torch.save(get_random_state(), tmp_path / 'state.pth')
    expected = draw()
    set_random_state(torch.load(tmp_path / 'state.pth', weights_only=True))
    assert draw() == expected


def test_training_does_not_notice_what_hooks_draw(make, train):
    quiet = train('plain')
    torch.rand(5)
    greedy = make('plain')
    greedy.register_hook(Greedy())
    greedy.train()
    assert not find_differences(quiet.model.state_dict(), greedy.model.state_dict())
    assert str(load(quiet, 1)['random_state']) == str(load(greedy, 1)['random_state'])


@pytest.mark.parametrize('stage', ['val', 'test'])
def test_validation_and_test_leave_no_trace_also_in_a_checkpoint_saved_within(make, stage):
    runner = make('plain')
    runner.register_hook(Greedy())
    runner.call_hook('before_run')
    state = get_random_state()
    expected = draw()
    set_random_state(state)
    runner.call_hook(f'before_{stage}')
    draw()
    checkpoint = {}
    runner.call_hook('before_save_checkpoint', checkpoint=checkpoint)
    runner.call_hook(f'after_{stage}')
    assert draw() == expected
    assert checkpoint['random_state']['world_size'] == 1
    set_random_state(checkpoint['random_state']['ranks'][0])
    assert draw() == expected


def test_a_validation_that_a_resumed_run_begins_with_saves_the_states_of_the_checkpoint():
    saved = get_random_state()
    expected = draw()
    hook, runner, checkpoint = RandomStateHook(), Mock(iter=5), {}
    hook.after_load_checkpoint(runner, dict(random_state=dict(world_size=1, ranks=[saved])))
    draw()
    hook.before_val(runner)
    draw()
    hook.before_save_checkpoint(runner, checkpoint)
    hook.restore_kept()
    hook.before_train_iter(runner)
    assert draw() == expected
    assert str(checkpoint['random_state']['ranks']) == str([saved])


@pytest.mark.parametrize(
    ('world_size', 'words'),
    [(None, 'holds no state of the random'), (4, 'was written by 4 processes')],
)
def test_a_checkpoint_without_states_or_of_other_processes_is_said_to_be_so(
    train, tmp_path, world_size, words
):
    checkpoint = load(train('plain'), 2)
    if world_size is None:
        del checkpoint['random_state']
    else:
        checkpoint['random_state']['world_size'] = world_size
    torch.save(checkpoint, tmp_path / 'changed.pth')
    runner = train('plain', 3, resume_from=tmp_path / 'changed.pth')
    assert any(words in text for text in runner.warnings)


def test_seeding_anew_depends_on_seed_and_iteration():
    drawn = []
    for seed, num_iters in [(1, 5), (1, 5), (2, 5), (1, 6)]:
        hook = RandomStateHook()
        hook.after_load_checkpoint(None, dict(random_state=dict(world_size=4, ranks=[])))
        hook.before_train_iter(Mock(seed=seed, iter=num_iters))
        drawn.append(str(draw()))
    assert drawn[0] == drawn[1] and len(set(drawn)) == 3


@pytest.mark.slow
def test_loading_weights_only_does_not_bring_back_old_noise(make, train):
    states = []
    for load_from in (snapshot(train('plain'), 2), None):
        runner = make('plain', 1, load_from=load_from)
        torch.manual_seed(123)
        runner.train()
        states.append(str(load(runner, 1)['random_state']))
    assert states[0] == states[1]


def test_every_process_has_its_state_in_the_checkpoint_and_gets_it_back(make, monkeypatch):
    """Two processes, of which the other one's part is played by the test.

    They meet only where a checkpoint is due.
    """
    runner = make('plain', 8, checkpoint=dict(interval=3, save_last=True))
    loop = runner._train_loop = runner.build_train_loop(runner._train_loop)
    other = get_random_state()
    expected = draw()
    meetings = []
    monkeypatch.setattr(random_state_hook, 'get_world_size', lambda: 2)
    monkeypatch.setattr(
        random_state_hook,
        'all_gather_object',
        lambda state: meetings.append(loop.iter) or [state, other],
    )
    hook = RandomStateHook()
    for loop._iter in range(8):
        hook.after_train_iter(runner, loop.iter)
    assert meetings == [2, 5, 7]
    checkpoint = {}
    hook.before_save_checkpoint(runner, checkpoint)

    monkeypatch.setattr(random_state_hook, 'get_rank', lambda: 1)
    hook = RandomStateHook()
    hook.after_load_checkpoint(runner, checkpoint)
    hook.before_train_iter(runner, 1)
    assert draw() == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_the_state_of_cuda_comes_back_too(tmp_path):
    torch.save(get_random_state(), tmp_path / 'state.pth')
    expected = torch.rand(3, device='cuda').tolist()
    set_random_state(torch.load(tmp_path / 'state.pth', weights_only=True, map_location='cuda'))
    assert torch.rand(3, device='cuda').tolist() == expected
