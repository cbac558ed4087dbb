"""Prepare the bedrooms of LSUN at 128 px from their lmdb; needs `pip install lmdb`.

Download bedroom_train_lmdb.zip (43 GB) by the links of https://github.com/fyu/lsun and unpack it:
an lmdb is read where it lies, not within an archive. Give its folder, the one with data.mdb.

Written to data/lsun_bedroom, the central square of each image at --size, as PNG, about 100 GB:

    train/<first three digits of the key>/<key>.png   about 3 million images
    test/...                                          30,000 others, held out (--num-test)
    val/...                                           2,048 others, for snapshots (--num-val)
    train.txt, test.txt, val.txt

Which images are held out hangs on their keys and the seed. LSUN's own validation part has 300
bedrooms only; how many the paper holds out of which part is not stated in it.

Images are read one after the other, so that little memory is needed; a run that was interrupted
goes on where it stopped.
"""

import heapq
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from prepared_set import decode_square, hash_name, make_key, make_parser, prepare_set, run

from disp_plugin.progress import track

KEY = re.compile('[0-9a-f]{40}')


class LsunDatabase:
    """An lmdb of LSUN: keys of 40 hexadecimal digits, and each one's image, encoded.

    Args:
        path (str | Path): Its folder, or one that holds it.

    Raises:
        FileNotFoundError: There is no data.mdb.
        ImportError: The lmdb package is missing.
        ValueError: ``path`` is an archive, or data.mdb is cut short or no lmdb.
    """

    def __init__(self, path: str | Path):
        self.path = find_database(Path(path))
        try:
            import lmdb
        except ImportError as error:
            raise ImportError(
                'LSUN is an lmdb, and the package that reads it is missing: pip install lmdb'
            ) from error
        try:
            self._env: Any = lmdb.open(
                str(self.path), readonly=True, lock=False, readahead=False, meminit=False
            )
        except lmdb.Error as error:
            raise ValueError(
                f'{self.path / "data.mdb"} is no lmdb ({error}); download it again'
            ) from error
        # reading what a file that is cut short lacks would kill the process
        expected = (self._env.info()['last_pgno'] + 1) * self._env.stat()['psize']
        length = (self.path / 'data.mdb').stat().st_size
        if length < expected:
            raise ValueError(
                f'{self.path / "data.mdb"} has {length} bytes but needs {expected}: it is cut '
                'short; unpack it again'
            )
        self.num_images: int = self._env.stat()['entries']

    def keys(self) -> Iterator[str]:
        """Go through the keys, in their order."""
        with self._env.begin() as transaction:
            for key in transaction.cursor().iternext(values=False):
                yield check_key(key, self.path)

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Go through keys and encoded images, in the order of the keys."""
        with self._env.begin() as transaction:
            for key, value in transaction.cursor():
                yield check_key(key, self.path), value


def find_database(path: Path) -> Path:
    """Find the folder with data.mdb: the given one, that of the given file, or one inside."""
    if path.is_file() and path.name != 'data.mdb':
        raise ValueError(f'{path} must be unpacked first: an lmdb is not read within an archive')
    if path.is_file():
        return path.parent
    found = sorted({*path.glob('data.mdb'), *path.glob('*/data.mdb')})
    if len(found) != 1:
        what = f'holds {len(found)} files' if path.is_dir() else 'does not exist, so holds no file'
        raise FileNotFoundError(
            f'{path} {what} data.mdb; give the unpacked folder bedroom_train_lmdb, see --help'
        )
    return found[0].parent


def check_key(key: bytes, path: Path) -> str:
    """Refuse keys that LSUN does not use; one could name a file outside of the prepared set."""
    text = key.decode('latin1')
    if not KEY.fullmatch(text):
        raise ValueError(
            f'{path} holds the key {text[:80]!r}, but those of LSUN are 40 hexadecimal digits'
        )
    return text


def hold_out(database: LsunDatabase, num_test: int, num_val: int, seed: int) -> dict[str, str]:
    """Choose images to hold out, the first of prepared_set.rank, without listing the others.

    Returns:
        dict[str, str]: Key -> its split, ``test`` or ``val``.
    """
    num = num_test + num_val
    if min(num_test, num_val) < 0 or num >= database.num_images:
        raise ValueError(
            f'--num-test and --num-val are {num_test} and {num_val}, but must be 0 or more and '
            f'together less than the {database.num_images} images of {database.path}'
        )
    keys = track(database.keys(), database.num_images, 'choosing the images to hold out')
    first = heapq.nsmallest(num, keys, key=partial(hash_name, seed=seed))
    return {key: 'test' if place < num_test else 'val' for place, key in enumerate(first)}


def main(argv: list[str] | None = None) -> None:
    parser = make_parser(
        __doc__,
        'data/lsun_bedroom',
        download='the folder bedroom_train_lmdb',
        size=128,
        num_test=30_000,
        num_val=2048,
    )
    args = parser.parse_args(argv)
    database = LsunDatabase(args.download)
    held_out = hold_out(database, args.num_test, args.num_val, args.seed)
    record = {
        'converter': 'lsun',
        'size': args.size,
        'seed': args.seed,
        'num_test': args.num_test,
        'num_val': args.num_val,
        'num_found': database.num_images,
    }
    with prepare_set(args.out, record) as prepared:
        for key, content in track(database.items(), database.num_images, prepared.out.name):
            split = held_out.get(key, 'train')
            image_key = make_key(split, key, key[:3])
            prepared.add(split, image_key, key, partial(decode_square, content, key, args.size))


if __name__ == '__main__':
    run(main)
