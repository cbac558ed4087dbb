"""What every converter does: choose by seed, write PNGs, list them in manifests.

A prepared data set is one folder::

    data/<name>/
      prepared.json     what was asked for (converter, seed, sizes); a second run must ask the same
      chosen.tsv        every image key and the name it had in the download
      train.txt ...     one manifest a split: image keys, one a line, relative to data/<name>
      train/ test/ ...  the images, PNG

The manifests appear after the last image: where they are, the set is whole.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from disp_plugin.files import replace_file, write_file
from disp_plugin.progress import track

# key of an image in the prepared set -> its name in the download
Chosen = dict[str, str]


def rank(names: Iterable[str], seed: int) -> list[str]:
    """Order names at random, by the SHA-256 of seed and name.

    No order of files, platform or version of a library changes it, and the first n of a ranking are
    among its first m > n: smaller subsets are nested in larger ones.
    """
    return sorted(set(names), key=lambda name: hash_name(name, seed))


def hash_name(name: str, seed: int) -> bytes:
    """Give a name its random place in :func:`rank`."""
    return hashlib.sha256(f'{seed}:{name}'.encode()).digest()


def choose(names: Iterable[str], num: int, seed: int, what: str) -> list[str]:
    """Choose names by their :func:`rank`, sorted; ``what`` they name is for the error message.

    Raises:
        ValueError: There are fewer names than asked for.
    """
    ranked = rank(names, seed)
    if len(ranked) < num:
        raise ValueError(
            f'{num} {what} are needed but only {len(ranked)} were found; is the download complete?'
        )
    return sorted(ranked[:num])


def choose_evenly(names: Iterable[str], num: int, seed: int) -> list[str]:
    """Choose ``num`` names; no class, which stands before ``_``, gets two more than another.

    Fewer names are among more, as in :func:`rank`. Where a class has no more, others fill up.
    """
    turns: Counter[str] = Counter()
    places = {}
    for place, name in enumerate(rank(names, seed)):
        kind = name.split('_')[0]
        turns[kind] += 1
        places[name] = (turns[kind], place)
    return sorted(sorted(places, key=places.__getitem__)[:num])


def to_square(img: np.ndarray, size: int) -> np.ndarray:
    """Cut the central square of an image (H,W,3), uint8, and resize it (Lanczos).

    The pixels stay unchanged where the square has that size.
    """
    height, width = img.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(img[top : top + side, left : left + side])
    if side != size:
        square = square.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(square)


def decode_square(content: bytes, name: str, size: int) -> np.ndarray:
    """Decode an image and bring it to a square, (size,size,3), uint8 RGB.

    Raises:
        ValueError: It is no whole image; the message has its name.
    """
    # importing the package takes seconds, which --help need not wait for
    from disp_plugin.datasets.decode_image import BadImageError, decode_image

    try:
        return to_square(decode_image(content), size)
    except BadImageError as error:
        raise ValueError(f'{name} is no whole image: {error}') from error


@contextmanager
def prepare_set(out: str | Path, record: dict[str, str | int]) -> Iterator[PreparedSet]:
    """Open a prepared set to write to; its manifests and ``chosen.tsv`` appear at the end.

    Images that are there already are kept: an interrupted run goes on where it stopped.

    Args:
        out (str | Path): Folder to write.
        record (dict): What was asked for; strings and numbers only.

    Raises:
        ValueError: The folder was prepared before with another record.
    """
    out = Path(out)
    file = out / 'prepared.json'
    before = json.loads(file.read_text()) if file.is_file() else record
    changed = [
        f'{key}={before.get(key)!r}, not {record.get(key)!r}'
        for key in sorted({*before, *record})
        if before.get(key) != record.get(key)
    ]
    if changed:
        raise ValueError(
            f'{out} was prepared with {"; ".join(changed)}. '
            'Delete that folder or give another one with --out.'
        )
    write_file(file, json.dumps(record, indent=2, sort_keys=True) + '\n')
    num_threads = os.cpu_count() or 1
    with ExitStack() as lists, ThreadPoolExecutor(num_threads) as pool:
        # as many images wait as keep the threads busy, and no more
        prepared = PreparedSet(out, lists, pool, 4 * num_threads)
        try:
            yield prepared
            prepared.wait(0)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    prepared.report()


class PreparedSet:
    """A folder of prepared images with its manifests, as :func:`prepare_set` opens it.

    Several threads decode and write, a few images at a time, so that millions of images need little
    memory.
    """

    def __init__(
        self, out: Path, lists: ExitStack, pool: ThreadPoolExecutor, max_waiting: int
    ) -> None:
        self.out = out
        self._stack, self._pool, self._max_waiting = lists, pool, max_waiting
        self._waiting: deque[Future[None]] = deque()
        self._lists: dict[str, BinaryIO] = {}
        self._num_images: Counter[str] = Counter()
        self._num_new: Counter[str] = Counter()

    def add(self, split: str, key: str, name: str, decode: Callable[[], np.ndarray]) -> None:
        """Write one image, unless it is there already, and list it.

        Args:
            split (str): Its split, which is the name of its manifest.
            key (str): Its image key, in a folder of the split's name.
            name (str): What the download calls it.
            decode (Callable): Gives the image (H,W,3) or (H,W), uint8; called in a thread.
        """
        self._list(split, key, name)
        if not (self.out / key).is_file():
            self._write(split, key, decode)

    def write_images(
        self,
        split: str,
        chosen: Chosen,
        read: Callable[[str], Any],
        decode: Callable[[Any, str], np.ndarray] = lambda image, name: image,
    ) -> None:
        """Write all images of a split; its manifest is sorted.

        Args:
            split (str): Its name.
            chosen (Chosen): Image keys and source names, in the order in which they are read.
            read (Callable): Source name -> what ``decode`` takes; called one after the other.
            decode (Callable): That and the source name -> image (H,W,3) or (H,W), uint8; called in
                threads. By default ``read`` gives the image.
        """
        missing = [(key, name) for key, name in chosen.items() if not (self.out / key).is_file()]
        for key, name in track(missing, len(missing), f'{self.out.name}/{split}'):
            self._write(split, key, partial(decode, read(name), name))
        for key in sorted(chosen):
            self._list(split, key, chosen[key])

    def write_manifest(self, name: str, keys: Iterable[str]) -> None:
        """Write ``<name>.txt``: the keys, sorted, one a line."""
        self._open(f'{name}.txt').writelines(f'{key}\n'.encode() for key in sorted(keys))

    def _list(self, split: str, key: str, name: str) -> None:
        self._open(f'{split}.txt').write(f'{key}\n'.encode())
        self._open('chosen.tsv').write(f'{key}\t{name}\n'.encode())
        self._num_images[split] += 1

    def _open(self, name: str) -> BinaryIO:
        if name not in self._lists:
            self._lists[name] = self._stack.enter_context(replace_file(self.out / name))
        return self._lists[name]

    def _write(self, split: str, key: str, decode: Callable[[], np.ndarray]) -> None:
        def work() -> None:
            buffer = io.BytesIO()
            Image.fromarray(decode()).save(buffer, 'PNG')
            write_file(self.out / key, buffer.getvalue(), is_durable=False)

        self._num_new[split] += 1
        self._waiting.append(self._pool.submit(work))
        self.wait(self._max_waiting)

    def wait(self, num_left: int) -> None:
        """Wait until no more than ``num_left`` images are being written; raise what they raised."""
        while len(self._waiting) > num_left:
            self._waiting.popleft().result()

    def report(self) -> None:
        """Print how many images each split has."""
        for split, num in self._num_images.items():
            print(f'{self.out / split}: {num} images ({self._num_new[split]} new)')


def make_key(split: str, name: str, *folders: str) -> str:
    """Name an image of the prepared set after its source: ``split/folders/stem.png``.

    Of ``name``, that in the download, folders and suffix are dropped.

    Raises:
        ValueError: A folder could leave the split.
    """
    for folder in folders:
        if folder in ('', '.', '..') or set('/\\') & set(folder) or not folder.isprintable():
            raise ValueError(f'{folder!r} cannot name a folder; this is not the official download')
    return str(PurePosixPath(split, *folders, PurePosixPath(name).stem + '.png'))


def make_parser(
    doc: str | None,
    out: str,
    *,
    seed: bool = True,
    names: Iterable[str] = (),
    download: str = '',
    size: int | None = None,
    num_test: int | None = None,
    num_val: int | None = None,
    num_train: int | None = None,
) -> argparse.ArgumentParser:
    """Begin the command line of a converter.

    Args:
        doc (str | None): Its text.
        out (str): Default of ``--out``, in which ``<name>`` stands for the set.
        seed (bool): Whether something is chosen at random. Defaults to True.
        names (Iterable[str]): Sets that it can prepare. Defaults to ().
        download (str): What to give as the download. Defaults to ''.
        size (int | None): Default of ``--size``. Defaults to None: there is no such option.
        num_test (int | None): Default of ``--num-test``. Defaults to None: no such option.
        num_val (int | None): Default of ``--num-val``. Defaults to None: no such option.
        num_train (int | None): Default of ``--num-train``. Defaults to None: no such option.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if names:
        parser.add_argument('name', choices=sorted(names), help='which set')
    if download:
        parser.add_argument('download', help=download)
    parser.add_argument('--out', default=out, help=f'folder to write (default: {out})')
    defaults = {'seed': 0 if seed else None, 'size': size, 'num-train': num_train}
    defaults |= {'num-test': num_test, 'num-val': num_val}
    texts = {
        'seed': 'of the choice',
        'size': 'side in pixels',
        'num-train': 'images to train on',
        'num-test': 'images held out, to report on',
        'num-val': 'others held out, to choose a snapshot by',
    }
    for name, default in defaults.items():
        if default is not None:
            help_text = f'{texts[name]} (default: {default})'
            parser.add_argument(f'--{name}', type=int, default=default, help=help_text)
    return parser


def run(main: Callable[[list[str] | None], None]) -> None:
    """Run a converter; a user's mistake ends it with one line in place of a traceback."""
    try:
        main(None)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f'{Path(sys.argv[0]).name}: {error}')
