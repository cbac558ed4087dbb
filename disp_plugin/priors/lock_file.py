"""Locks of files, on file systems that have them."""

from __future__ import annotations

import errno
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

try:
    import fcntl
except ImportError:  # not on Windows, where two builds at once are then not noticed
    fcntl = None  # type: ignore[assignment]

_IN_USE = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


def lock_file(file: Any, path: str | Path, advice: str, wait: bool = False) -> bool:
    """Lock an open file against other processes that do the same.

    Args:
        file (Any): Open file or handle.
        path (str | Path): Its path.
        advice (str): What to heed where the file system has no locks, as some network file systems;
            said once a folder.
        wait (bool): Wait for another process that has the lock. Defaults to False.

    Returns:
        bool: Whether it is locked; False where there are no locks.

    Raises:
        BlockingIOError: Another process has the lock.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in _IN_USE:
            raise BlockingIOError(error.errno, error.strerror, str(path)) from error
        _warn(Path(path).parent, error.strerror or str(error), advice)
        return False
    return True


def unlock_file(file: Any) -> None:
    """Let other processes have a file that ``lock_file`` locked, even while forks have it open.

    Args:
        file (Any): The open file.
    """
    fcntl.flock(file, fcntl.LOCK_UN)


@cache
def _warn(folder: Path, reason: str, advice: str) -> None:
    print_log(f'WARNING: files in {folder} cannot be locked ({reason}): {advice}')
