"""Tell a user's error in one message and the program's by a traceback; check ranges of numbers."""

import errno
import re
import signal
import sys
import traceback
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from disp_plugin.cli.options import accepted_fields, find_class, nearest, registered_names
from disp_plugin.files import check_config_file
from disp_plugin.signals import STOP, Stopped

__all__ = [
    'LARGEST_SEED',
    'building',
    'check_files',
    'check_range',
    'explain_error',
    'user_errors',
]

USER_ERROR = 2
"""Exit status of a tool that stopped because of what it was given."""

LARGEST_SEED = 2**32 - 1
"""The largest seed that torch, NumPy and scikit-learn all take."""


def check_range(args: Namespace, **least: int) -> None:
    """Raise if a number of the command line is below its least value, or a seed is too large.

    Raises:
        ValueError: One is out of range; the option is named.
    """
    for name, low in least.items():
        value, option = getattr(args, name), '--' + name.replace('_', '-')
        if value is None:
            continue
        if value < low:
            raise ValueError(f'{option} must be at least {low}, but is {value}')
        if name == 'seed' and value > LARGEST_SEED:
            raise ValueError(f'--seed must be at most {LARGEST_SEED}, but is {value}')


def check_files(args: Namespace) -> None:
    """Raise if the config or checkpoint of a command line is missing, before anything slow.

    Raises:
        FileNotFoundError: One does not exist.
    """
    if (config := getattr(args, 'config', None)) is not None:
        check_config_file(config)
    if (checkpoint := getattr(args, 'checkpoint', None)) is not None:
        path = Path(checkpoint)
        if not path.exists():
            raise FileNotFoundError(f'{path} does not exist (looked from {Path.cwd()})')


def explain_error(error: BaseException) -> str | None:
    """Explain an error that a user caused; give None for any other error."""
    text = str(error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f'no space left on the device{_file_of(error)}; nothing more was written'
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f'no permission{_file_of(error)}; choose another place, or change its owner'
    if isinstance(error, KeyError) and 'is not in the' in text:
        return _explain_type(text)
    if isinstance(error, TypeError) and 'unexpected keyword argument' in text:
        return _explain_argument(text)
    if isinstance(error, (ValueError, FileNotFoundError, NotADirectoryError, FileExistsError)):
        return text
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f'{error.strerror}{_file_of(error)}; choose another place'
    return None


def _file_of(error: OSError) -> str:
    return f' ({error.filename})' if error.filename else ''


def _explain_type(text: str) -> str | None:
    """Name the registered class that looks most like a mistyped ``type``."""
    match = re.search(r'([\w.]+) is not in the ([\w:. ]+?) registry', text)
    if match is None:
        return None
    name, registry = match.groups()
    best = nearest(name.rsplit('.', 1)[-1], registered_names())
    hint = f'; did you mean {best!r}?' if best else ''
    return f'the config says type={name!r}, but no such class is registered in {registry}{hint}'


def _explain_argument(text: str) -> str | None:
    """Name the argument that looks most like a mistyped one, for a class that a config builds."""
    match = re.search(
        r"(?:class `(\w+)`|(\w+)\.__init__).*unexpected keyword argument '(\w+)'", text
    )
    if match is None:
        return None
    name, argument = match.group(1) or match.group(2), match.group(3)
    cls = find_class(name)
    known = (accepted_fields(cls) or set()) if cls is not None else set()
    best = nearest(argument, known)
    takes = f'it takes {", ".join(sorted(known))}' if known else 'see its documentation'
    hint = f'did you mean {best}?' if best else takes
    return f'the config gives {name} the argument {argument!r}, which it does not have; {hint}'


@contextmanager
def user_errors(debug: bool = False, resume_hint: str = '') -> Iterator[None]:
    """Run the body of a tool; end it with one message where the user is to blame.

    The exit status is 2 for a user's error, 130 after Ctrl-C, 143 after SIGTERM, 138 after SIGUSR1.
    Any other error passes, unless a signal came before: what it ended raises errors elsewhere.

    Args:
        debug (bool): Print the traceback as well. Defaults to False.
        resume_hint (str): What to say after a signal. Defaults to ''.

    Raises:
        SystemExit: A user's error or a signal.
    """
    with STOP.caught():
        try:
            yield
        except KeyboardInterrupt:
            _end_by(signal.SIGINT, resume_hint)
        except Stopped as stop:
            if stop.is_told:
                raise
            _end_by(stop.number, resume_hint)
        except Exception as error:
            message = explain_error(error)
            if message is None and STOP.received and not debug:
                _end_by(STOP.received, resume_hint)
            if message is None:
                raise
            if debug:
                traceback.print_exc()
            print(f'error: {message}', file=sys.stderr)
            if not debug:
                print('(--debug prints the traceback)', file=sys.stderr)
            raise SystemExit(USER_ERROR) from None


@contextmanager
def building(part: str) -> Iterator[None]:
    """Tell what goes wrong as a part of the config is built as a fault of that part."""
    try:
        yield
    except Exception as error:
        if explain_error(error) is not None:
            raise
        text = f'{type(error).__name__}: {error}'.splitlines()[0]
        raise ValueError(
            f'{part} of the config cannot be built: {text}; change it by '
            f'--cfg-options {part}.FIELD=..., or see --debug'
        ) from error


def _end_by(number: int, hint: str) -> NoReturn:
    """Say that a signal ended the tool, and end it with the status that shells give."""
    name = 'Ctrl-C' if number == signal.SIGINT else signal.Signals(number).name
    print(f'\nstopped by {name}. {hint}'.rstrip(), file=sys.stderr)
    raise SystemExit(128 + number) from None
