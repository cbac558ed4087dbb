"""Prepare ImageNet at 32x32 (Chrabaszcz, Loshchilov and Hutter, 2017) as PNGs.

Log in to https://image-net.org/download-images.php and download, under "Downsampled image data",
both parts of the 32x32 version, training and validation, best in the *npz format*:

    Imagenet32_train_npz.zip  train_data_batch_1.npz to train_data_batch_10.npz
    Imagenet32_val_npz.zip    val_data.npz

Give both archives, or the folder or folders that they were unpacked to. The other format (the same
names without .npz) is made of pickles, which could run any code when opened; they are read without
running anything.

Written to data/imagenet32, 32x32, pixels unchanged, 5 GB:

    train/<label>/<batch>_<row>.png   1,281,167 images
    test/<label>/<batch>_<row>.png    50,000 images, the validation part
    train.txt, test.txt

Labels are those of the download, 0001 to 1000. One batch at a time is in memory (1 GB); a run
that was interrupted goes on where it stopped.
"""

import io
import pickle
import zipfile
import zlib
from functools import partial
from typing import Any

import numpy as np
from download import Download
from prepared_set import make_key, make_parser, prepare_set, run

from disp_plugin.progress import track

BATCHES = {
    'train': tuple(f'train_data_batch_{i}' for i in range(1, 11)),
    'test': ('val_data',),
}
NUM_CLASSES = 1000

# what the batches hold: pixels and labels of one byte or more, and the mean image
_DTYPES = ('u1', 'i4', 'i8', 'f4', 'f8')


class _DtypeRecord:
    """What a pickle says of a dtype."""

    def __init__(self, name: Any, *flags: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        if state[1] == '>':
            raise pickle.UnpicklingError('its numbers are big-endian')


class _ArrayRecord:
    """What a pickle says of an array."""

    def __init__(self, *arguments: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def to_array(self) -> np.ndarray:
        _, shape, dtype, is_fortran, content = self.state
        if dtype.name not in _DTYPES:
            raise pickle.UnpicklingError(f'it holds an array of {dtype.name!r}')
        # Python 2 wrote text where Python 3 writes bytes
        content = content.encode('latin1') if isinstance(content, str) else content
        array = np.frombuffer(content, dtype.name)
        return array.reshape(shape, order='F' if is_fortran else 'C')


def _encode(text: str, encoding: str) -> bytes:
    """Stand in for ``codecs.encode``, by which old protocols spell bytes."""
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'it asks for the encoding {encoding!r}')
    return text.encode('latin1')


_KNOWN = {
    ('numpy', 'ndarray'): _ArrayRecord,
    ('numpy', 'dtype'): _DtypeRecord,
    ('numpy.core.multiarray', '_reconstruct'): _ArrayRecord,
    ('numpy._core.multiarray', '_reconstruct'): _ArrayRecord,
    ('_codecs', 'encode'): _encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Makes lists, dicts, numbers, text, bytes and records of arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f'it asks for {module}.{name}') from None


def read_pickle(content: bytes, name: str) -> dict[str, Any]:
    """Read a pickled dict of arrays, lists and numbers; nothing in it is run.

    A pickle can name any function and have it called. Of those in the official files only
    :data:`_KNOWN` are accepted, and each stands for a record of what it was given; the arrays are
    made of these records.

    Raises:
        ValueError: It holds anything else, or is cut short.
    """
    try:
        fields = _ArrayUnpickler(io.BytesIO(content), encoding='latin1').load()
        return {
            str(key): value.to_array() if isinstance(value, _ArrayRecord) else value
            for key, value in fields.items()
        }
    except Exception as error:
        # pickles that were tampered with fail in any way
        raise ValueError(
            f'{name} is no whole pickle of arrays, lists and numbers ({error}), so nothing of it '
            'was run; download it again, or the npz format'
        ) from error


def read_npz(content: bytes, name: str) -> dict[str, Any]:
    """Read the arrays ``data`` and ``labels`` of an npz file; refuse pickled ones."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {key: file[key] for key in ('data', 'labels') if key in file}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f'{name} is no whole npz file ({error}); download it again') from error


def read_batch(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read one file: images (M,32,32,3), uint8 RGB, and labels (M,), from 1 on.

    Raises:
        ValueError: It cannot be read, or does not hold an image of 32 px for each label of a class.
    """
    fields = (read_npz if name.endswith('.npz') else read_pickle)(content, name)
    data, labels = fields.get('data'), np.asarray(fields.get('labels', []))
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (3072,):
        found = f'{data.dtype} {data.shape}' if isinstance(data, np.ndarray) else type(data)
        raise ValueError(
            f'{name} must hold data of uint8 (images, 3072), but holds {found}; is it the 32x32 '
            'version of the downsampled ImageNet?'
        )
    if labels.shape != (len(data),) or labels.dtype.kind not in 'iu' or not len(data):
        raise ValueError(
            f'{name} must hold a whole number as label for each of its {len(data)} images, but '
            f'holds {labels.dtype} {labels.shape}; download it again'
        )
    if labels.min() < 1 or labels.max() > NUM_CLASSES:
        raise ValueError(
            f'{name} holds labels from {labels.min()} to {labels.max()}, but those of the '
            f'downsampled ImageNet are 1 to {NUM_CLASSES}'
        )
    # red, green and blue planes, as in CIFAR
    return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


def find_batch(downloads: list[Download], stem: str) -> tuple[Download, str]:
    """Find where a batch is, and its name there; the npz format first."""
    for ending in (f'{stem}.npz', stem):
        for download in downloads:
            try:
                return download, download.find(ending)
            except FileNotFoundError:
                continue
    places = ' or '.join(str(download.path) for download in downloads)
    raise FileNotFoundError(
        f'neither {stem}.npz nor {stem} is in {places}; see --help for what to download'
    )


def main(argv: list[str] | None = None) -> None:
    parser = make_parser(__doc__, 'data/imagenet32', seed=False)
    parser.add_argument('downloads', nargs='+', help='archives or unpacked folders')
    args = parser.parse_args(argv)
    downloads = [Download(path) for path in args.downloads]
    # all are looked for before hours are spent on the first
    found = {s: [find_batch(downloads, stem) for stem in stems] for s, stems in BATCHES.items()}
    with prepare_set(args.out, {'converter': 'imagenet32'}) as prepared:
        for split, batches in found.items():
            for number, (download, name) in enumerate(batches, 1):
                images, labels = read_batch(download.read(name), name)
                title = f'{prepared.out.name}/{split}, batch {number} of {len(batches)}'
                for row in track(range(len(images)), len(images), title):
                    key = make_key(split, f'{number:02d}_{row:06d}', f'{labels[row]:04d}')
                    source = f'{BATCHES[split][number - 1]}:{row}'
                    prepared.add(split, key, source, partial(images.__getitem__, row))


if __name__ == '__main__':
    run(main)
