"""The bank: the priors of a data set's images in one file, found by image key.

The file has the layout of safetensors (eight bytes with the length of a JSON header, the header,
the tensors), so any safetensors reader opens it, and nothing in it is pickled. M images, V views
(1: as loaded; 2: as loaded, and flipped horizontally), D prior_dim, L length of the longest key:

    file_sizes   (M,)      I64          size of each image file in bytes
    key_hashes   (M,)      I64          a hash of each key, sorted, to find a key by
    hashed_rows  (M,)      I64          the row of each hash's key
    priors       (M,V,D)   F16 or F32   one block of V rows per image, in the order of the keys
    keys         (M,L)     U8           the image keys in UTF-8, sorted, filled up with zeros
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from disp_plugin.datasets import choose_rows
from disp_plugin.files import replace_file

MAGIC = 'disp_plugin.prior_bank'
VERSION = '3'
BUILD_COMMAND = 'python tools/build_prior_bank.py CONFIG --bank-file {}'
REBUILD_COMMAND = f'{BUILD_COMMAND} --overwrite (and the --cfg-options of your run)'

_DTYPES = {'F16': np.float16, 'F32': np.float32, 'I64': np.int64, 'U8': np.uint8}
_CODES = {np.dtype(dtype): code for code, dtype in _DTYPES.items()}
_TENSORS = ('file_sizes', 'key_hashes', 'hashed_rows', 'priors', 'keys')
_NO_CRC, _NO_HASH = '0' * 8, '0' * 64
_MAX_HEADER = 100_000_000  # what safetensors allows
# Half of what torch splits over threads, which on a busy machine wait for each other 10 ms.
_PIECE = 2**14
_MAX_COMPARED = 4096


class BankWriteError(OSError, ValueError):
    """A bank cannot be written where it was asked for: no permission, no space, no folder."""

    @classmethod
    def explain(cls, error: OSError, path: str | Path) -> BankWriteError:
        """Say in the user's words why a file could not be written, and what helps."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = f'no space left to write {path}; free some'
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            reason = f'no permission to write {path}; change that of its folder'
        else:
            reason = f'cannot write {path}: {error.strerror or error}; fix that'
        return cls(f'{reason}, or choose another place with --bank-file')


class DamagedBankError(ValueError):
    """A bank file is truncated or altered."""

    @classmethod
    def explain(cls, path: str | Path, problem: str) -> DamagedBankError:
        """Name the file, what is wrong with it (such as 'it is truncated'), and the way out."""
        way_out = f'copy it again or rebuild it: {REBUILD_COMMAND.format(path)}'
        return cls(f'prior bank {path} is damaged: {problem}; {way_out}')


@dataclass(frozen=True)
class BankOrigin:
    """What a bank was made from, to tell a run that does not match it what differs.

    Attributes:
        encoder (dict[str, str]): ``describe()`` of the encoder.
        encoder_fingerprint (str): Its ``fingerprint()``.
        encoder_config (dict | None): The config that it was built from, where it is known.
        view (dict): ``describe_view()`` of the data set.
        dataset_fingerprint (str): Hash of that, of the image keys and of the file sizes.
        precision (str): Arithmetic of the forward: float32, or the type of autocast.
    """

    encoder: dict[str, str] = field(default_factory=dict)
    encoder_fingerprint: str = ''
    encoder_config: dict[str, Any] | None = None
    view: dict[str, Any] = field(default_factory=dict)
    dataset_fingerprint: str = ''
    precision: str = 'float32'

    def to_json(self) -> str:
        """Write it as JSON, the same text for the same origin."""
        return json.dumps(asdict(self), sort_keys=True)


class PriorBank:
    """Data instance priors C(x) of M images, by image key, in one or both flip views.

    A bank is opened from the file that ``build_bank`` wrote, memory-mapped: it need not fit into
    memory, and the workers of a data loader share its pages. One made from arrays lives in memory.

    Args:
        keys (Sequence[str]): M distinct image keys, in any order; rows are kept sorted by key.
        priors (np.ndarray | torch.Tensor): (M,D) or (M,V,D), float16 or float32 (other floats are
            stored as float32), finite.
        file_sizes (Sequence[int], optional): Size in bytes of each image's file. Defaults to None:
            zeros, which means unknown.
        origin (BankOrigin, optional): What the priors were made from. Defaults to None: unknown.

    Raises:
        ValueError: Repeated keys, no rows, shapes that do not fit, or a prior that is not finite.

    Examples:
        >>> bank = PriorBank(["a.png", "b.png"], torch.eye(2))
        >>> bank.lookup(["b.png"])
        tensor([[0., 1.]])
    """

    def __init__(
        self,
        keys: Sequence[str],
        priors: np.ndarray | torch.Tensor,
        file_sizes: Sequence[int] | np.ndarray | None = None,
        origin: BankOrigin | None = None,
    ) -> None:
        stored = _as_stored(priors, len(keys))
        packed = pack_keys(keys)
        order = np.argsort(packed, kind='stable')
        twice = np.flatnonzero(packed[order][1:] == packed[order][:-1])
        if len(twice):
            raise ValueError(f'image key {keys[order[twice[0]]]!r} comes twice')
        bad = np.flatnonzero(~np.isfinite(stored).all(axis=(1, 2)))
        if len(bad):
            raise ValueError(f'the prior of image {keys[bad[0]]!r} is not finite')
        sizes = np.zeros(len(keys)) if file_sizes is None else np.asarray(file_sizes)
        self._keys, self._priors = packed[order], stored[order]
        self._index = _KeyIndex.build(self._keys)
        self.file_sizes: np.ndarray = sizes[order].astype(np.int64)
        self.origin = origin or BankOrigin()
        self.path: Path | None = None
        self._rows: np.ndarray | None = None  # where the bank is a part of another: its rows there
        self._fingerprint = ''

    @classmethod
    def open(cls, path: str | Path) -> PriorBank:
        """Open a bank file, mapped into memory.

        Raises:
            FileNotFoundError: There is no such file; the message has the command that builds it.
            ValueError: It is no bank, or a bank of another version.
            DamagedBankError: It is truncated, or its header was altered.
        """
        tensors, metadata = _map_file(Path(path))
        bank = cls.__new__(cls)
        bank.file_sizes, hashes, rows, bank._priors, keys = tensors
        bank._index = _KeyIndex(hashes, rows)
        bank._keys = keys.reshape(-1).view(f'S{keys.shape[1]}')
        bank.origin = BankOrigin(**json.loads(metadata['origin']))
        bank.path, bank._rows = Path(path).absolute(), None
        bank._fingerprint = metadata['fingerprint']
        return bank

    def __reduce__(self) -> tuple[Any, ...]:
        if self.path is not None:
            return (_reopen, (str(self.path), self._fingerprint))
        return (type(self), (self.keys, self.priors, self.file_sizes, self.origin))

    def save(self, path: str | Path) -> None:
        """Write the bank to a file, whole or not at all.

        Raises:
            BankWriteError: No permission or no space; nothing half-written is left.
        """
        shape = (self.num_images, self.num_views, self.prior_dim)
        dtype = self._priors.dtype
        write_bank(path, self._keys, self.file_sizes, self.origin, self._blocks(), shape, dtype)

    @property
    def keys(self) -> list[str]:
        """list[str]: The image keys, sorted."""
        return [key.decode() for key in self._keys.tolist()]

    @property
    def priors(self) -> np.ndarray:
        """np.ndarray: All priors (M,V,D) as stored, rows in the order of ``keys``; read-only."""
        priors = self._priors.view() if self._rows is None else self._priors[self._rows]
        priors.flags.writeable = False
        return priors

    @property
    def num_images(self) -> int:
        """int: M."""
        return len(self._keys)

    @property
    def num_views(self) -> int:
        """int: V, 1 or 2."""
        return self._priors.shape[1]

    @property
    def prior_dim(self) -> int:
        """int: D."""
        return self._priors.shape[2]

    @property
    def fingerprint(self) -> str:
        """str: Hash of keys, file sizes, priors and origin, as hex."""
        if not self._fingerprint:
            self._fingerprint = self._hash()
        return self._fingerprint

    def __len__(self) -> int:
        return self.num_images

    def __repr__(self) -> str:
        where = self.path or 'in memory'
        return (
            f'PriorBank({where}: {self.num_images} images, '
            f'{self.num_views} view(s), {self.prior_dim}-d {self._priors.dtype})'
        )

    def lookup(self, keys: Sequence[str], flipped: bool | Sequence[bool] = False) -> torch.Tensor:
        """Look up the priors of images.

        Args:
            keys (Sequence[str]): N image keys, repeats allowed.
            flipped (bool | Sequence[bool]): Whether to give the prior of the horizontally flipped
                view, for all or for each key. Defaults to False.

        Returns:
            torch.Tensor: (N,D) float32, a copy.

        Raises:
            ValueError: A key that the bank lacks, or a flipped view of a bank that has none.
        """
        views = np.asarray(flipped, dtype=np.int64)
        if views.ndim and len(views) != len(keys):
            raise ValueError(f'flipped has {len(views)} entries for {len(keys)} keys')
        if self.num_views == 1 and views.any():
            raise ValueError(
                f'{self.name} holds no priors of flipped images, and a flipped one was asked for; '
                'rebuild it from a data set with flip=True: '
                f'{REBUILD_COMMAND.format(self.path or "BANK")}; or set flip=False'
            )
        return _to_float32(self.take(self.find(keys), views))

    def find(self, keys: Sequence[str]) -> np.ndarray:
        """Find the rows (N,) of image keys.

        Raises:
            ValueError: A key that the bank lacks.
        """
        rows, is_there = self.search(keys)
        if not is_there.all():
            missing = keys[int(np.argmin(is_there))]
            raise ValueError(
                f'{self.name} has no prior for image {missing!r} (it has {self.num_images} images, '
                f'from {self._keys[0].decode()!r} to {self._keys[-1].decode()!r}); rebuild it for '
                f'this data set: {REBUILD_COMMAND.format(self.path or "BANK")}'
            )
        return rows

    def search(self, keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Find rows (N,) of keys that may be missing, and whether each is there (N,)."""
        wanted = pack_keys(keys)
        rows = self._index.find(wanted)
        return rows, self._keys[rows] == wanted

    def take(self, rows: np.ndarray, views: np.ndarray | int = 0) -> np.ndarray:
        """Copy the priors (N,D) of some rows, as stored; ``views`` is one for each, or for all."""
        rows = rows if self._rows is None else self._rows[rows]
        # twice as fast as an index of rows and views
        return self._priors.reshape(-1, self.prior_dim).take(rows * self.num_views + views, axis=0)

    def restrict_to(self, keys: Sequence[str]) -> PriorBank:
        """Keep only some images, for a run on a part of the data.

        The priors of an opened bank stay in its file; all of its keys give the bank itself.

        Raises:
            ValueError: A key that the bank lacks, or none at all.
        """
        if not len(keys):
            raise ValueError(f'no image of {self.name} was chosen')
        rows = np.unique(self.find(keys))
        if len(rows) == self.num_images:
            return self
        part = object.__new__(type(self))
        part._keys, part.file_sizes = self._keys[rows], self.file_sizes[rows]
        part._index = _KeyIndex.build(part._keys)
        part._priors, part.origin, part.path = self._priors, self.origin, None
        part._rows = rows if self._rows is None else self._rows[rows]
        part._fingerprint = hashlib.sha256(self.fingerprint.encode() + rows.tobytes()).hexdigest()
        return part

    def mean_cosine(self) -> float:
        """Estimate how parallel the priors are: the mean cosine between those of two images.

        Features after a ReLU are nearly parallel (about 0.8); conditions then barely differ unless
        the GAN centers them (``prior_norm='centered_l2'``). At most 1,000 images are compared; a
        bank of one image gives 0.
        """
        if self.num_images < 2:
            return 0.0
        num = min(1000, self.num_images)
        rows = np.random.default_rng(0).choice(self.num_images, num, replace=False)
        priors = self.take(np.sort(rows)).astype(np.float64)
        priors /= np.maximum(np.linalg.norm(priors, axis=1, keepdims=True), 1e-12)
        # |sum of unit vectors|^2 is the sum over all pairs, each vector with itself included.
        own = float((priors**2).sum())
        return (float((priors.sum(axis=0) ** 2).sum()) - own) / (num * (num - 1))

    def find_near_copies(self, least: float = 0.98) -> list[tuple[str, str, float]]:
        """Find pairs of images that the encoder hardly tells apart, the most alike first.

        Compared are the directions of priors from their mean, and of those of mirrored views. Of
        more than 4,096 images, about as many in blocks of neighbors are compared.

        Args:
            least (float): The least cosine of a pair. Defaults to 0.98.

        Returns:
            list[tuple[str, str, float]]: Two image keys and their cosine.
        """
        rows = np.array(choose_rows(self.num_images, _MAX_COMPARED))
        views = [self.take(rows, view).astype(np.float32) for view in range(self.num_views)]
        mean = views[0].mean(axis=0)
        units = [view - mean for view in views]
        for unit in units:
            unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
        pairs = []
        for start in range(0, len(rows), 512):
            block = units[0][start : start + 512]
            cosines = np.maximum.reduce([block @ unit.T for unit in units])
            for i, j in np.argwhere(np.triu(cosines >= least, start + 1)).tolist():
                names = (self._keys[rows[row]].decode() for row in (start + i, j))
                pairs.append((*names, float(cosines[i, j])))
        return sorted(pairs, key=lambda pair: -pair[2])

    def verify(self) -> None:
        """Read the whole bank and compare it with its checksum.

        Raises:
            DamagedBankError: The file was altered.
        """
        if self.path is not None and self._hash() != self._fingerprint:
            raise DamagedBankError.explain(self.path, 'it was altered: its checksum differs')

    @property
    def name(self) -> str:
        """str: What messages call it."""
        if self.path is not None:
            return f'prior bank {self.path}'
        return 'the prior bank in memory' if self._rows is None else 'a part of a prior bank'

    def _hash(self) -> str:
        digest = hashlib.sha256(self.origin.to_json().encode())
        for piece in _stream(self._keys, self.file_sizes, self._index, self._blocks()):
            digest.update(piece)
        return digest.hexdigest()

    def _blocks(self, size: int = 4096) -> Iterator[np.ndarray]:
        for start in range(0, self.num_images, size):
            rows = slice(start, start + size)
            yield self._priors[rows if self._rows is None else self._rows[rows]]


class _KeyIndex(NamedTuple):
    """Finds keys by 64-bit hashes: a search among keys themselves slows down with their number."""

    hashes: np.ndarray  # (M,) int64, sorted
    rows: np.ndarray  # (M,) int64

    @classmethod
    def build(cls, keys: np.ndarray) -> _KeyIndex:
        hashes = _hash_keys(keys)
        rows = np.argsort(hashes, kind='stable')
        twice = np.flatnonzero(hashes[rows][1:] == hashes[rows][:-1])
        if len(twice):  # among a million keys, with a probability of 3e-8
            first, second = (keys[row].decode() for row in rows[twice[0] : twice[0] + 2])
            raise ValueError(
                f'image keys {first!r} and {second!r} have the same hash; rename one of them'
            )
        return cls(hashes[rows], rows)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Give the row of each key, and any row for a key that is not there."""
        places = np.searchsorted(self.hashes, _hash_keys(keys))
        return self.rows[np.minimum(places, len(self.rows) - 1)]


def _hash_keys(keys: np.ndarray) -> np.ndarray:
    digests = (hashlib.blake2b(key, digest_size=8).digest() for key in keys.tolist())
    return np.frombuffer(b''.join(digests), '<i8')


def pack_keys(keys: Sequence[str]) -> np.ndarray:
    """Encode image keys as one array of bytes, (N,), filled up with zeros; its order is theirs."""
    return np.array([key.encode() for key in keys], dtype=np.bytes_)


def write_bank(
    path: str | Path,
    keys: np.ndarray,
    file_sizes: np.ndarray,
    origin: BankOrigin,
    blocks: Iterable[np.ndarray],
    shape: tuple[int, int, int],
    dtype: np.dtype,
) -> None:
    """Write a bank file; an old file stays until the new one is complete.

    ``blocks`` are the priors in blocks (n,V,D), which need not fit into memory together; ``shape``
    is (M,V,D), and ``keys`` are packed and sorted.

    Raises:
        BankWriteError: No permission or no space; nothing half-written is left.
    """
    index = _KeyIndex.build(keys)
    tensors = {name: (np.dtype(np.int64), file_sizes.shape) for name in _TENSORS[:3]} | {
        'priors': (np.dtype(dtype), shape),
        'keys': (np.dtype(np.uint8), (len(keys), keys.itemsize)),
    }
    digest = hashlib.sha256(origin.to_json().encode())
    try:
        with replace_file(path) as file:
            # written again at the end, when the checksum is known
            file.write(_make_header(tensors, origin, _NO_HASH))
            for piece in _stream(keys, file_sizes, index, blocks):
                digest.update(piece)
                file.write(piece)
            file.seek(0)
            file.write(_make_header(tensors, origin, digest.hexdigest()))
    except OSError as error:
        raise BankWriteError.explain(error, path) from error


def _stream(
    keys: np.ndarray, file_sizes: np.ndarray, index: _KeyIndex, blocks: Iterable[np.ndarray]
) -> Iterator[memoryview]:
    """Yield the bytes of all tensors, in the order of the file."""
    for array in chain((file_sizes, *index), blocks, (keys,)):
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _make_header(
    tensors: dict[str, tuple[np.dtype, tuple[int, ...]]], origin: BankOrigin, fingerprint: str
) -> bytes:
    metadata = {
        'format': MAGIC,
        'version': VERSION,
        'crc32': _NO_CRC,
        'fingerprint': fingerprint,
        'origin': origin.to_json(),
    }
    header: dict[str, Any] = {'__metadata__': metadata}
    end = 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {'dtype': _CODES[dtype], 'shape': shape, 'data_offsets': [begin, end]}
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    text = text.replace(_NO_CRC.encode(), f'{zlib.crc32(text):08x}'.encode(), 1)
    return len(text).to_bytes(8, 'little') + text


def _map_file(path: Path) -> tuple[list[np.ndarray], dict[str, str]]:
    """Check a bank's header; map its tensors into memory, and give its metadata."""
    if not path.is_file():
        raise FileNotFoundError(
            f'there is no prior bank {path}; build it first: {BUILD_COMMAND.format(path)} (and the '
            '--cfg-options of your run)'
        )
    with open(path, 'rb') as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), 'little')
        text = file.read(min(length, _MAX_HEADER))
    try:
        entries = json.loads(text)
        metadata = entries.pop('__metadata__', {})
        is_bank = metadata.get('format') == MAGIC
    except (AttributeError, TypeError, ValueError):
        entries, is_bank = {}, False
    if not is_bank:
        if MAGIC.encode() in text[:4096]:
            problem = 'it is truncated' if len(text) < length else 'its header was altered'
            raise DamagedBankError.explain(path, problem)
        if not entries:
            raise ValueError(f'{path} is not a prior bank: its header is not that of safetensors')
        raise ValueError(
            f'{path} is not a prior bank but another safetensors file (it holds '
            f'{", ".join(sorted(entries)[:3])}, ...); name the bank that '
            f'{BUILD_COMMAND.split(" CONFIG")[0]} wrote'
        )
    if metadata.get('version') != VERSION:
        raise ValueError(
            f'prior bank {path} has version {metadata.get("version")} of the format, and this '
            f'disp_plugin reads version {VERSION}; rebuild it: {REBUILD_COMMAND.format(path)}'
        )
    crc = str(metadata.get('crc32')).encode()
    if f'{zlib.crc32(text.replace(crc, _NO_CRC.encode(), 1)):08x}'.encode() != crc:
        raise DamagedBankError.explain(path, 'its header was altered')
    start = 8 + length
    expected = start + entries[_TENSORS[-1]]['data_offsets'][1]
    if size != expected:
        problem = 'truncated' if size < expected else 'altered'
        raise DamagedBankError.explain(
            path, f'it has {size} bytes where its header announces {expected}: it is {problem}'
        )
    mapped, tensors = np.asarray(np.memmap(path, np.uint8, 'r')), []
    for entry in map(entries.get, _TENSORS):
        begin, end = (start + offset for offset in entry['data_offsets'])
        tensors.append(mapped[begin:end].view(_DTYPES[entry['dtype']]).reshape(entry['shape']))
    return tensors, metadata


def _as_stored(priors: np.ndarray | torch.Tensor, num_keys: int) -> np.ndarray:
    """Bring priors to (M,V,D) in a type that a bank stores."""
    if isinstance(priors, torch.Tensor):
        priors = priors.detach().cpu().numpy()
    rows = np.asarray(priors)
    if rows.dtype != np.float16:
        rows = rows.astype(np.float32)
    if rows.ndim == 2:
        rows = rows[:, None]
    if rows.ndim != 3 or len(rows) != num_keys or rows.shape[1] not in (1, 2) or not rows.size:
        raise ValueError(
            f'priors must be (M,D) or (M,V,D) with V 1 or 2 and one row for each of {num_keys} '
            f'image keys, but have shape {tuple(priors.shape)}'
        )
    return rows


def _to_float32(rows: np.ndarray) -> torch.Tensor:
    """Convert rows in one thread, whatever torch was told, and ten times faster than NumPy."""
    stored = torch.from_numpy(rows)
    if stored.dtype == torch.float32:
        return stored
    converted = torch.empty(stored.shape, dtype=torch.float32)
    pieces = zip(converted.view(-1).split(_PIECE), stored.view(-1).split(_PIECE), strict=True)
    for target, source in pieces:
        target.copy_(source)
    return converted


def _reopen(path: str, fingerprint: str) -> PriorBank:
    bank = PriorBank.open(path)
    if bank.fingerprint != fingerprint:
        raise ValueError(f'prior bank {path} was rebuilt while it was in use; start the run again')
    return bank
