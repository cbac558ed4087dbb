"""Signals that end a program: at once, or once a training step is finished and saved."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ['STOP', 'StopSignals', 'Stopped', 'spare_processes']

# Of Kubernetes, Slurm and kill; what a job may ask Slurm for, unknown to Windows; of Ctrl-C.
_NAMES = ('SIGTERM', 'SIGUSR1', 'SIGINT')
SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))


class Stopped(SystemExit):
    """A signal asked to stop; the exit status is 128 more than its number.

    Args:
        number (int): The signal.
        is_told (bool): Whether another process says so. Defaults to False.
    """

    def __init__(self, number: int, is_told: bool = False) -> None:
        super().__init__(128 + number)
        self.number, self.is_told = number, is_told


class StopSignals:
    """What signals do in this process: raise at once, or wait for the end of a step.

    Attributes:
        received (int): The first signal that came, or 0.
        is_deferred (bool): Whether the first signal is only noted.
    """

    def __init__(self) -> None:
        self.received = 0
        self.is_deferred = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch signals within a block of the main thread; what is ignored stays ignored.

        Raises:
            Stopped: SIGTERM or SIGUSR1 came, and is not deferred.
            KeyboardInterrupt: Ctrl-C came, and is not deferred; or another one came.
        """
        former = {}
        if threading.current_thread() is threading.main_thread():
            former = {number: signal.getsignal(number) for number in SIGNALS}
            kept = (signal.SIG_IGN, None, self._handle)
            former = {number: way for number, way in former.items() if way not in kept}
        for number in former:
            signal.signal(number, self._handle)
        try:
            yield
        finally:
            self.is_deferred = False
            for number, way in former.items():
                signal.signal(number, way)
            if former:
                self.received = 0

    def end_deferral(self) -> None:
        """Let signals raise at once again, also one that came meanwhile."""
        self.is_deferred = False
        if self.received:
            raise Stopped(self.received)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        is_first, self.received = not self.received, self.received or number
        if is_first and self.is_deferred:
            if number == signal.SIGINT:  # not by print, which this may have interrupted
                os.write(2, b'\nending after this step; Ctrl-C again ends at once\n')
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        elif is_first:
            raise Stopped(number)


STOP = StopSignals()
"""The signals of this process."""


@contextmanager
def spare_processes() -> Iterator[None]:
    """Keep signals to a whole group from the processes that a block starts.

    Slurm and Ctrl-C reach the workers of a data loader as well, without which a step could not end.
    """
    if not hasattr(signal, 'pthread_sigmask'):
        yield
        return
    former = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
