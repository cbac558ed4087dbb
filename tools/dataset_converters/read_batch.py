"""Read a batch of the downsampled ImageNet: an npz file, or a pickle, without what makes it unsafe.

A pickle can name any function and have it called. Of those in the official files only three are
known here, and each stands for a record of what it was given; the array is made of these records.
"""

import io
import pickle
import zipfile
import zlib
from typing import Any

import numpy as np

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

    Args:
        content (bytes): The file.
        name (str): Its name, for the error message.

    Returns:
        dict[str, Any]: Its fields; arrays as ``np.ndarray``, of one to eight bytes a number.

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
    """Read the arrays of an npz file, none of which may be pickled.

    Args:
        content (bytes): The file.
        name (str): Its name, for the error message.

    Returns:
        dict[str, Any]: Its arrays ``data`` and ``labels``; others are left alone.

    Raises:
        ValueError: It is not such a file, or is cut short.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {key: file[key] for key in ('data', 'labels') if key in file}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f'{name} is no whole npz file ({error}); download it again') from error


def read_batch(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the images and labels of one file.

    Args:
        content (bytes): The file.
        name (str): Its name; one that ends in .npz is read as such, another as a pickle.

    Returns:
        tuple[np.ndarray, np.ndarray]: Images (M,32,32,3), uint8 RGB, and labels (M,), from 1 on.

    Raises:
        ValueError: It cannot be read, or does not hold an image of 32 px for each label.
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
    # red, green and blue planes, as in CIFAR
    return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels
