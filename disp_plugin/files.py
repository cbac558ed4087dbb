"""Files: written whole or not at all, places that can be written to, free space."""

import difflib
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

__all__ = [
    'check_out',
    'describe_bytes',
    'get_free_bytes',
    'replace_file',
    'write_file',
]

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ImportError:  # Windows: what killed writers left there stays
    flock = None  # type: ignore[assignment]

_BINARY = getattr(os, 'O_BINARY', 0)  # Windows only
_TEMPORARY = re.compile(r'\..+\.[0-9a-f]{16}\.part')


@contextmanager
def replace_file(path: str | Path, is_durable: bool = True) -> Iterator[BinaryIO]:
    """Open a file that takes the place of ``path`` only once it is written.

    What killed writers left in the folder is removed before.

    Args:
        path (str | Path): File to replace or create; its folder is created where missing.
        is_durable (bool): Wait until the content is on the disk, so that it outlives a power
            failure too; False for many small files that can be made again. Defaults to True.

    Yields:
        BinaryIO: A temporary file in the same folder, removed if the block raises.

    Raises:
        OSError: It cannot be written; the old file, if there was one, is as it was.
        ValueError: Something else than a file is there, such as a folder or a device.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    _check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    temporary = path.parent / f'.{path.name}.{secrets.token_hex(8)}.part'
    # not tempfile's, which are private: this file is as readable as any other of its owner
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
    try:
        with os.fdopen(handle, 'wb') as file:
            _lock(handle)
            yield file
            file.flush()
            if is_durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


@cache  # one look at each folder is enough
def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of writers that were killed; those of living ones are locked."""
    with suppress(OSError):
        for name in filter(_TEMPORARY.fullmatch, os.listdir(folder)):
            file = folder / name
            if time.time() - file.stat().st_mtime < 2:  # perhaps not locked yet
                continue
            handle = os.open(file, os.O_WRONLY)
            try:
                if _lock(handle):
                    file.unlink()
            finally:
                os.close(handle)


def _lock(handle: int) -> bool:
    """Try to lock a file until it is closed, also by the death of the process."""
    if flock is None:
        return False
    try:
        flock(handle, LOCK_EX | LOCK_NB)
    except OSError:  # another process has it, or files cannot be locked there
        return False
    return True


def _check_replaceable(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not path.is_file()):
        kind = 'a folder' if path.is_dir() else 'no file but a link to itself, a pipe or a device'
        raise ValueError(f'{str(path)!r} cannot be written: it is {kind}; name another file')


def write_file(path: str | Path, content: bytes | str, is_durable: bool = True) -> None:
    """Write a file whole or not at all, as :func:`replace_file` does; text as UTF-8."""
    with replace_file(path, is_durable) as file:
        file.write(content.encode('utf-8') if isinstance(content, str) else content)


def check_out(out: str | Path, is_folder: bool = True) -> None:
    """Raise if a tool cannot write where ``--out`` says; leave nothing there.

    Args:
        out (str | Path): The folder or file that ``--out`` names; it need not exist.
        is_folder (bool): Whether files are written into it, or it is the file itself.
            Defaults to True.

    Raises:
        ValueError: It is a file in place of a folder or a folder in place of a file, or nothing can
            be written there.
    """
    path = Path(out)
    try:
        if is_folder and path.exists() and not path.is_dir():
            raise ValueError(f'--out {str(out)!r} is a file; name a folder to write into')
        if not is_folder and path.is_dir():
            raise ValueError(f'--out {str(out)!r} is a folder; name a file in it')
        if not is_folder:
            _check_replaceable(Path(os.path.realpath(path)))
        folder = _find_existing(path if is_folder else path.absolute().parent)
        if not folder.is_dir():
            raise ValueError(f'--out {str(out)!r} lies below {str(folder)!r}, which is a file')
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f'--out {str(out)!r} cannot be written ({error.strerror}); choose another place'
        ) from error


def get_free_bytes(path: str | Path) -> int:
    """Get the free space where a file or folder is, or would be, in bytes."""
    return shutil.disk_usage(_find_existing(path)).free


def describe_bytes(num_bytes: float) -> str:
    """Write a size for people, such as '12 MiB' or '3.4 GiB'."""
    mib = num_bytes / 2**20
    return f'{mib:.0f} MiB' if mib < 1024 else f'{mib / 1024:.1f} GiB'


def _find_existing(path: str | Path) -> Path:
    """Find the longest part of a path that exists."""
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    return place


def check_config_file(file: str | Path) -> Path:
    """Get the path of a config file.

    Raises:
        FileNotFoundError: There is no such file; the message names the nearest one beside it.
    """
    path = Path(file)
    if path.is_file():
        return path
    beside = sorted(p.name for p in path.parent.glob('*.py')) if path.parent.is_dir() else []
    best = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.4)
    hint = f'; did you mean {path.parent / best[0]}?' if best else ''
    what = 'is a folder' if path.is_dir() else 'does not exist'
    raise FileNotFoundError(f'config file {path} {what}{hint}')
