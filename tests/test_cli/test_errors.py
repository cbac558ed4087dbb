"""A user's error becomes one message and exit status 2; a bug stays a traceback."""

import errno
from argparse import Namespace

import pytest
from mmengine.registry import HOOKS

import disp_plugin.register  # noqa: F401
from disp_plugin.cli.errors import check_range, explain_error, user_errors


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


def test_an_interrupt_says_how_to_continue(capsys):
    with pytest.raises(SystemExit) as stop, user_errors(resume_hint='Continue with --resume'):
        raise KeyboardInterrupt
    assert stop.value.code == 130
    assert 'Continue with --resume' in capsys.readouterr().err


def test_the_option_its_bound_and_the_value_are_named():
    check_range(Namespace(num_pairs=2, seed=2**32 - 1), num_pairs=2, seed=0)
    with pytest.raises(ValueError, match=r'^--num-pairs must be at least 2, but is 1$'):
        check_range(Namespace(num_pairs=1), num_pairs=2)
    with pytest.raises(ValueError, match=r'^--seed must be at least 0, but is -1$'):
        check_range(Namespace(seed=-1), seed=0)
    with pytest.raises(ValueError, match=r'^--seed must be at most 4294967295, but is 4294967296$'):
        check_range(Namespace(seed=2**32), seed=0)
