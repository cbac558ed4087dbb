"""Files: written whole or not at all, places that can be written to, free space."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = [
    'check_out',
    'describe_bytes',
    'get_free_bytes',
    'replace_file',
    'write_file',
]

_BINARY = getattr(os, 'O_BINARY', 0)  # Windows only


@contextmanager
def replace_file(path: str | Path, is_durable: bool = True) -> Iterator[BinaryIO]:
    """Open a file that takes the place of ``path`` only once it is written.

    Args:
        path (str | Path): File to replace or create; its folder is created where missing.
        is_durable (bool): Wait until the content is on the disk, so that it outlives a power
            failure too; False for many small files that can be made again. Defaults to True.

    Yields:
        BinaryIO: A temporary file in the same folder, removed if the block raises.

    Raises:
        OSError: It cannot be written; the old file, if there was one, is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f'.{path.name}.{secrets.token_hex(8)}.part'
    # not tempfile's, which are private: this file is as readable as any other of its owner
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
    try:
        with os.fdopen(handle, 'wb') as file:
            yield file
            file.flush()
            if is_durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


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
