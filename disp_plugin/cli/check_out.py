"""Whether ``--out`` can be written, before there is anything to write."""

import tempfile
from pathlib import Path

__all__ = ['check_out']


def check_out(out: str | Path, is_folder: bool = True) -> None:
    """Make sure that a tool can write where it is told to; nothing is left there.

    Args:
        out (str | Path): The folder or file that ``--out`` names; it need not exist.
        is_folder (bool): Whether files are to be written into it, or it is the file itself.
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
        folder = path.absolute() if is_folder else path.absolute().parent
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir():
            raise ValueError(f'--out {str(out)!r} lies below {str(folder)!r}, which is a file')
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f'--out {str(out)!r} cannot be written ({error.strerror}); choose another place'
        ) from error
