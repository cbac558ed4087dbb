"""A user's error becomes one message and exit status 2; a bug stays a traceback."""

import errno
import os
import signal
from argparse import Namespace

import pytest
from mmengine.registry import HOOKS

import disp_plugin.register  # noqa: F401
from disp_plugin.cli.errors import check_range, explain_error, user_errors
from disp_plugin.signals import Stopped


def catch(function):
    try:
        function()
    except Exception as error:
        return explain_error(error)
    raise AssertionError('no error')


def test_a_mistyped_type_names_the_nearest_class():
    message = catch(lambda: HOOKS.build(dict(type='ChekpointHook')))
    assert "type='ChekpointHook'" in message
    assert "did you mean 'CheckpointHook'?" in message


def test_a_mistyped_argument_names_the_nearest_one():
    message = catch(lambda: HOOKS.build(dict(type='LoggerHook', intervall=2)))
    assert "gives LoggerHook the argument 'intervall'" in message
    assert 'did you mean interval?' in message


def test_no_space_and_no_permission_name_the_file():
    full = explain_error(OSError(errno.ENOSPC, 'No space left on device', 'iter_1.pth'))
    assert 'no space left' in full and 'iter_1.pth' in full
    denied = explain_error(PermissionError(errno.EACCES, 'Permission denied', '/x/y'))
    assert 'no permission' in denied and '/x/y' in denied


@pytest.mark.parametrize('error', [RuntimeError('x'), AttributeError('x'), KeyError('x')])
def test_an_error_of_the_program_is_not_explained_away(error):
    assert explain_error(error) is None
    with pytest.raises(type(error)), user_errors():
        raise error


def test_a_users_error_ends_the_tool_with_status_2_and_one_message(capsys):
    with pytest.raises(SystemExit) as stop, user_errors():
        raise ValueError('prior_dim is 3')
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith('error: prior_dim is 3\n')
    assert 'Traceback' not in said


def test_debug_adds_the_traceback(capsys):
    with pytest.raises(SystemExit), user_errors(debug=True):
        raise ValueError('prior_dim is 3')
    said = capsys.readouterr().err
    assert 'Traceback' in said
    assert said.endswith('error: prior_dim is 3\n')


@pytest.mark.parametrize(
    ('number', 'name'),
    [(signal.SIGINT, 'Ctrl-C'), (signal.SIGTERM, 'SIGTERM'), (signal.SIGUSR1, 'SIGUSR1')],
)
def test_a_signal_ends_a_tool_with_one_line_that_says_how_to_go_on(capsys, number, name):
    before = signal.signal(number, signal.default_int_handler)
    with pytest.raises(SystemExit) as stop, user_errors(resume_hint='Give it again.'):
        os.kill(os.getpid(), number)
    assert stop.value.code == 128 + number
    assert capsys.readouterr().err == f'\nstopped by {name}. Give it again.\n'
    assert signal.signal(number, before) is signal.default_int_handler


def test_what_a_signal_broke_on_its_way_is_no_error_of_the_program(capsys):
    with pytest.raises(SystemExit) as stop, user_errors():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            raise RuntimeError('DataLoader worker is killed by signal: Terminated')
    assert stop.value.code == 143
    assert capsys.readouterr().err == '\nstopped by SIGTERM.\n'
    with pytest.raises(RuntimeError), user_errors():  # later
        raise RuntimeError


def test_another_process_says_what_ended_this_one(capsys):
    with pytest.raises(SystemExit) as stop, user_errors():
        raise Stopped(signal.SIGTERM, is_told=True)
    assert stop.value.code == 143 and not capsys.readouterr().err


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with user_errors():
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.signal(signal.SIGINT, before) is signal.SIG_IGN


def test_the_option_its_bound_and_the_value_are_named():
    check_range(Namespace(num_pairs=2, seed=2**32 - 1), num_pairs=2, seed=0)
    with pytest.raises(ValueError, match=r'^--num-pairs must be at least 2, but is 1$'):
        check_range(Namespace(num_pairs=1), num_pairs=2)
    with pytest.raises(ValueError, match=r'^--seed must be at least 0, but is -1$'):
        check_range(Namespace(seed=-1), seed=0)
    with pytest.raises(ValueError, match=r'^--seed must be at most 4294967295, but is 4294967296$'):
        check_range(Namespace(seed=2**32), seed=0)
