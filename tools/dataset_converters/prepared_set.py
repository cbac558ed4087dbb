"""What every converter does: choose by seed, write PNGs, list them in manifests.

A prepared data set is one folder::

    data/<name>/
      prepared.json     what was asked for (converter, seed, sizes); a second run must ask the same
      chosen.tsv        every image key and the name it had in the download
      train.txt ...     one manifest a split: image keys, one a line, relative to data/<name>
      train/ test/ ...  the images, PNG

A manifest is written after the last of its images, so its presence means that the split is whole.
"""

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from disp_plugin.files import write_file
from disp_plugin.progress import track

# key of an image in the prepared set -> its name in the download
Chosen = dict[str, str]


def rank(names: Iterable[str], seed: int) -> list[str]:
    """Order names at random, by a seed alone.

    The order is that of SHA-256 of seed and name: it does not depend on the order of the files in
    a folder, on the platform, or on the version of a library, and the first n of a ranking are
    among the first m > n, so smaller subsets are nested in larger ones.

    Args:
        names (Iterable[str]): Names to order; duplicates are dropped.
        seed (int): Seed of the order.

    Returns:
        list[str]: The names in their random order.
    """
    return sorted(set(names), key=lambda name: hashlib.sha256(f'{seed}:{name}'.encode()).digest())


def choose(names: Iterable[str], num: int, seed: int, what: str) -> list[str]:
    """Choose ``num`` names at random, by a seed alone.

    Args:
        names (Iterable[str]): Names to choose from.
        num (int): How many.
        seed (int): Seed of the choice, see :func:`rank`.
        what (str): What is chosen, for the error message.

    Returns:
        list[str]: The chosen names, sorted.

    Raises:
        ValueError: There are fewer names than asked for.
    """
    ranked = rank(names, seed)
    if len(ranked) < num:
        raise ValueError(
            f'{num} {what} are needed but only {len(ranked)} were found; is the download complete?'
        )
    return sorted(ranked[:num])


def to_square(img: np.ndarray, size: int) -> np.ndarray:
    """Cut the central square of an image and resize it.

    Args:
        img (np.ndarray): Image (H,W,3), uint8 RGB.
        size (int): Side of the result in pixels.

    Returns:
        np.ndarray: Image (size,size,3), uint8 RGB; Lanczos-filtered unless the square already had
        that size, in which case its pixels are unchanged.
    """
    height, width = img.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(img[top : top + side, left : left + side])
    if side != size:
        square = square.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(square)


class PreparedSet:
    """A folder of prepared images with its manifests.

    Args:
        out (str | Path): Folder to write.
        record (dict): What was asked for; strings and numbers only.

    Raises:
        ValueError: The folder was prepared before with another record.
    """

    def __init__(self, out: str | Path, record: dict):
        self.out = Path(out)
        self._chosen: Chosen = {}
        file = self.out / 'prepared.json'
        if file.is_file():
            self._check_record(json.loads(file.read_text()), record)
        self.out.mkdir(parents=True, exist_ok=True)
        write_file(file, (json.dumps(record, indent=2, sort_keys=True) + '\n').encode())

    def _check_record(self, before: dict, record: dict) -> None:
        """Stop when the folder holds something else than what is asked for."""
        changed = [
            f'{key}={before.get(key)!r}, not {record.get(key)!r}'
            for key in sorted({*before, *record})
            if before.get(key) != record.get(key)
        ]
        if changed:
            raise ValueError(
                f'{self.out} was prepared with {"; ".join(changed)}. '
                'Delete that folder or give another one with --out.'
            )

    def write_images(self, split: str, chosen: Chosen, read: Callable[[str], np.ndarray]) -> None:
        """Write the images of a split, then its manifest.

        Images that are there already are kept, so an interrupted run goes on where it stopped.

        Args:
            split (str): Name of the split: its folder and its manifest.
            chosen (Chosen): Image keys (starting with the split's folder) and their source names.
            read (Callable): Source name -> image (H,W,3) or (H,W), uint8.
        """
        missing = [(key, name) for key, name in chosen.items() if not (self.out / key).is_file()]
        for key, name in track(missing, len(missing), f'{self.out.name}/{split}'):
            buffer = io.BytesIO()
            Image.fromarray(read(name)).save(buffer, 'PNG')
            write_file(self.out / key, buffer.getvalue(), is_durable=False)
        self.write_manifest(split, chosen)
        self._chosen.update(chosen)
        rows = [f'{key}\t{name}\n' for key, name in sorted(self._chosen.items())]
        write_file(self.out / 'chosen.tsv', ''.join(rows).encode())
        print(f'{self.out / split}: {len(chosen)} images ({len(missing)} new)')

    def write_manifest(self, name: str, keys: Iterable[str]) -> None:
        """Write ``<name>.txt``: the keys, sorted, one a line."""
        lines = ''.join(f'{key}\n' for key in sorted(keys))
        write_file(self.out / f'{name}.txt', lines.encode())


def make_key(split: str, name: str, *folders: str) -> str:
    """Name an image of the prepared set after its source: ``split/folders/stem.png``.

    Args:
        split (str): Name of the split.
        name (str): Name of the image in the download; its folders and suffix are dropped.
        folders (str): Folders inside the split, such as the class.

    Returns:
        str: The image key.

    Raises:
        ValueError: A folder could leave the split.
    """
    for folder in folders:
        if folder in ('', '.', '..') or set('/\\') & set(folder) or not folder.isprintable():
            raise ValueError(f'{folder!r} cannot name a folder; this is not the official download')
    return str(PurePosixPath(split, *folders, PurePosixPath(name).stem + '.png'))


def make_parser(doc: str | None, out: str, seed: int | None = 0) -> argparse.ArgumentParser:
    """Begin the command line of a converter: its text, ``--out`` and ``--seed``.

    Args:
        doc (str | None): Its text.
        out (str): Default of ``--out``.
        seed (int | None): Default of ``--seed``; None for a converter that chooses nothing.

    Returns:
        argparse.ArgumentParser: The parser.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', default=out, help=f'folder to write (default: {out})')
    if seed is not None:
        parser.add_argument(
            '--seed', type=int, default=seed, help=f'of the choice (default: {seed})'
        )
    return parser


def run(main: Callable[[list[str] | None], None]) -> None:
    """Run a converter; a user's mistake ends it with one line in place of a traceback."""
    try:
        main(None)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f'{Path(sys.argv[0]).name}: {error}')
