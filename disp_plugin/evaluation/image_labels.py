"""Classes of images, from what their files are called or from a table."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

__all__ = ['image_labels']

SOURCES = ('folder', 'prefix')


def image_labels(keys: Sequence[str], source: str | Path | None = None) -> list[str]:
    """Find the class of each image.

    Args:
        keys (Sequence[str]): Image keys, such as ``cats/0001.png`` or ``train/5_0012.png``.
        source (str | Path | None): 'folder', the folder that the image lies in; 'prefix', what
            stands before the first ``_`` of its file name; or a CSV file whose lines are an image
            key and its label. Defaults to None: the folder, or the prefix where all images lie in
            one folder.

    Returns:
        list[str]: One label for each key.

    Raises:
        FileNotFoundError: There is no such CSV file.
        ValueError: An image has no label, the CSV file is not UTF-8, or a line of it is none.
    """
    paths = [PurePosixPath(key) for key in keys]
    if source is None:
        source = 'folder' if len({path.parent for path in paths}) > 1 else 'prefix'
    if source == 'folder':
        return [_name(path.parent.name, path, 'lies in no folder') for path in paths]
    if source == 'prefix':
        prefixes = [path.name.partition('_')[0] if '_' in path.name else '' for path in paths]
        return [_name(*pair, "has no '_'") for pair in zip(prefixes, paths, strict=True)]
    table = _read_table(Path(source))
    missing = [key for key in keys if key not in table]
    if missing:
        raise ValueError(
            f'{source} has no label for {len(missing)} of {len(keys)} images, such as '
            f'{missing[0]!r}; image keys are paths below the data root'
        )
    return [table[key] for key in keys]


def _name(label: str, path: PurePosixPath, reason: str) -> str:
    if not label:
        raise ValueError(
            f'the image {str(path)!r} {reason}, so that its class is not plain to see; give a CSV '
            'file of image keys and labels'
        )
    return label


def _read_table(file: Path) -> dict[str, str]:
    if not file.is_file():
        raise FileNotFoundError(
            f"there is no file {file}; labels come from 'folder', 'prefix' or a CSV file"
        )
    try:
        text = file.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError(
            f'{file} is not UTF-8 text (byte {error.start}); save it as UTF-8'
        ) from error
    table = {}
    for row in csv.reader(io.StringIO(text, newline='')):
        if not row:
            continue
        if len(row) != 2:
            raise ValueError(
                f'a line of {file} is {",".join(row)!r}, but should be an image key and its label'
            )
        table[row[0].strip()] = row[1].strip()
    return table
