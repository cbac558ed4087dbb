"""Files that are written whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ['replace_file', 'write_file']

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
    """Write a file whole or not at all.

    Args:
        path (str | Path): File to replace or create; its folder is created where missing.
        content (bytes | str): What to write; text is written as UTF-8.
        is_durable (bool): As for :func:`replace_file`. Defaults to True.

    Raises:
        OSError: It cannot be written; the old file, if there was one, is as it was.
    """
    with replace_file(path, is_durable) as file:
        file.write(content.encode('utf-8') if isinstance(content, str) else content)
