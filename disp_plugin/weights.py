"""Files of weights: told by their first bytes, and read without running code of theirs."""

import codecs
import json
import pickle
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

__all__ = [
    'NonFiniteError',
    'WeightsFile',
    'find_non_finite',
    'list_some',
    'pack_safetensors',
    'read_weights',
]

# First bytes -> what a file is, and the way out.
_KINDS = {
    b'version https://git-lfs': ('a git-lfs pointer', 'fetch the file itself by `git lfs pull`'),
    b'\x89HDF\r\n\x1a\n': (
        'an HDF5 file, as Keras and TensorFlow write it',
        'give the state dict of a PyTorch network',
    ),
    b'\x1f\x8b': ('compressed by gzip', 'unpack it, and give what is in it'),
    b'BZh': ('compressed by bzip2', 'unpack it, and give what is in it'),
    b'\xfd7zXZ': ('compressed by xz', 'unpack it, and give what is in it'),
    b'\x28\xb5\x2f\xfd': ('compressed by zstd', 'unpack it, and give what is in it'),
    b'7z\xbc\xaf\x27\x1c': ('a 7-Zip archive', 'unpack it, and give what is in it'),
    b'Rar!': ('a RAR archive', 'unpack it, and give what is in it'),
    b'GGUF': ('a GGUF file', 'give the state dict of a PyTorch network'),
    b'\x93NUMPY': ('a single NumPy array', 'give a file of named weights'),
    b'\x89PNG': ('a PNG image', 'give a file of weights'),
    b'\xff\xd8\xff': ('a JPEG image', 'give a file of weights'),
    b'%PDF': ('a PDF', 'give a file of weights'),
}
# Of the notes in a safetensors file of ours; the format itself has no checksum.
_CRC = 'crc32'
_ANEW = 'fetch or save it anew'
_TORCH_PICKLE = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'  # protocol 2, torch's magic number
_PICKLE = rb'\x80[\x02-\x05]|\((dp|lp)\d|c\w+\n\w+\n'
_NVIDIA = (
    "it is a network pickle of NVIDIA's, which only their code opens: in a checkout of github.com/"
    'NVlabs/stylegan2-ada-pytorch run `import legacy, torch; '
    "n = legacy.load_network_pkl(open('{}', 'rb')); torch.save({{k: n[k].state_dict() for k in "
    "('G', 'D', 'G_ema')}}, '{}-tensors.pth')`, and give that file to tools/model_converters/"
    'stylegan2.py'
)


class WeightsFile(NamedTuple):
    """What a file of weights holds."""

    content: dict[str, Any]
    """As it was saved: tensors by name, which may stand below a name such as ``state_dict``."""
    notes: dict[str, str]
    """What it says about itself: a safetensors header, or the strings beside the tensors."""


def read_weights(path: str | Path, device: str | torch.device = 'cpu') -> WeightsFile:
    """Read a file of ``torch.save``, safetensors or NumPy's npz, whatever its name ends in.

    Names lose what DataParallel (``module.``) and ``torch.compile`` (``_orig_mod.``) put before
    them. The checksums of a zip, which torch does not compare, are compared, and those
    of :func:`pack_safetensors`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is of another kind, which the message names, or is damaged, or holds objects.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise ValueError(f'{path} is a folder; give the file of weights in it')
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist (looked from {Path.cwd()})')
    with path.open('rb') as file:
        head = file.read(2**16)
    notes: dict[str, str] = {}
    if head.startswith(b'PK\x03\x04'):
        content = _read_zip(path, device)
    elif head.startswith(_TORCH_PICKLE):
        content = _load(path, device, is_whole=False)
    elif head[8:9] == b'{' and int.from_bytes(head[:8], 'little') <= 10**8:
        content, notes = _read_safetensors(path, device)
    else:
        raise ValueError(_describe(path, head))
    if not isinstance(content, Mapping):
        raise ValueError(
            f'{path} holds a {type(content).__name__}, but a checkpoint is a dict of tensors; '
            'save a state dict'
        )
    for place in (content, content.get('meta')):
        if isinstance(place, Mapping):
            notes |= {str(key): value for key, value in place.items() if isinstance(value, str)}
    unwrapped = _unwrap(content)
    return WeightsFile(
        {key: _unwrap(v) if isinstance(v, Mapping) else v for key, v in unwrapped.items()}, notes
    )


def pack_safetensors(tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> bytes:
    """Pack tensors on the CPU as safetensors, with a checksum that ``read_weights`` compares."""
    return save(dict(tensors), {**notes, _CRC: _compute_crc(tensors, notes)})


def list_some(names: Iterable[str], limit: int = 4) -> str:
    """Write the first names, and how many there are if there are more."""
    names = [str(name) for name in names]
    rest = f', ... ({len(names)} in all)' if len(names) > limit else ''
    return (', '.join(names[:limit]) or 'none') + rest


def _unwrap(state: Mapping) -> Mapping:
    """Drop the names of wrappers; return the same mapping where there are none."""
    names = {key: key for key in state if isinstance(key, str)}
    names = {key: re.sub(r'(^|\.)_orig_mod\.', r'\1', key) for key in names}
    while names and all(name.startswith('module.') for name in names.values()):
        names = {key: name.removeprefix('module.') for key, name in names.items()}
    # of an EMA generator, module is no wrapper
    names = {
        k: re.sub(r'^(generator|discriminator)\.module\.', r'\1.', n) for k, n in names.items()
    }
    if all(key == name for key, name in names.items()):
        return state
    return {names.get(key, key): value for key, value in state.items()}


def _compute_crc(tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> str:
    crc = zlib.crc32(json.dumps(sorted(notes.items())).encode())
    for name, value in sorted(tensors.items()):
        crc = zlib.crc32(f'{name} {value.dtype} {tuple(value.shape)}'.encode(), crc)
        content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        crc = zlib.crc32(content.numpy().data, crc)
    return f'{crc:08x}'


def _read_safetensors(path: Path, device: str | torch.device) -> tuple[dict, dict[str, str]]:
    try:
        with safe_open(path, framework='pt', device=str(device)) as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            notes = opened.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f'{path} is a damaged safetensors file, or was cut short ({error}); {_ANEW}'
        ) from error
    crc = notes.pop(_CRC, None)
    if crc is not None and crc != _compute_crc(tensors, notes):
        raise ValueError(f'{path} is damaged: its checksum is wrong; {_ANEW}')
    return tensors, notes


def _read_zip(path: Path, device: str | torch.device) -> object:
    try:
        with zipfile.ZipFile(path) as archive:
            names, damaged = archive.namelist(), archive.testzip()
    except zipfile.BadZipFile as error:
        raise ValueError(
            f'{path} was cut short or is damaged: the end of a zip archive is missing ({error}); '
            f'it has {path.stat().st_size:,} bytes; {_ANEW}'
        ) from error
    except (zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise ValueError(f'{path} is damaged ({error}); {_ANEW}') from error
    if damaged is not None:
        raise ValueError(f'{path} is damaged: the checksum of its part {damaged} is wrong; {_ANEW}')
    if all(name.endswith('.npy') for name in names):
        return _read_arrays(path, device)
    if not any(name.endswith('/data.pkl') for name in names):
        raise ValueError(
            f'{path} is a zip archive of {list_some(names)}, and no file of weights; unpack it, '
            'and give the weights in it'
        )
    if any(name.endswith('/constants.pkl') for name in names):
        raise ValueError(
            f'{path} is a TorchScript archive, which is a program; save its weights by '
            'torch.save(torch.jit.load(FILE).state_dict(), OTHER)'
        )
    return _load(path, device, is_whole=True)


def _read_arrays(path: Path, device: str | torch.device) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.as_tensor(arrays[name], device=device) for name in arrays.files}
    except (ValueError, TypeError) as error:
        raise ValueError(f'{path} has arrays that are no numbers; give weights') from error


def _load(path: Path, device: str | torch.device, is_whole: bool) -> object:
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        text = str(error)
        if not is_whole and not re.search('nsupported (global|class)|Can only', text):
            raise ValueError(f'{path} was cut short or is damaged; {_ANEW}') from error
        asked = re.search(r'GLOBAL (\S+)|getattr\(.*?\)', text)
        raise ValueError(
            f'{path} holds pickled objects'
            + (f' ({asked[1] or asked[0]})' if asked else '')
            + ', which can run any code, and is not read; if you trust its maker, load it by '
            'torch.load(..., weights_only=False), and save its state dict anew'
        ) from error
    except Exception as error:  # what the bytes lead to: a KeyError, an EOFError
        reason = str(error).partition('. ')[0] or type(error).__name__
        raise ValueError(f'{path} was cut short or is damaged ({reason}); {_ANEW}') from error


def _describe(path: Path, head: bytes) -> str:
    """Say what a file is that holds no weights, and the way out."""
    if not head:
        return f'{path} is empty (0 bytes); {_ANEW}'
    if not head.strip(b'\0'):
        return f'{path} was not written to its end: it begins with zeros; {_ANEW}'
    for start, (kind, way_out) in _KINDS.items():
        if head.startswith(start):
            return f'{path} is {kind}, and no file of weights; {way_out}'
    if head[257:262] == b'ustar':
        return f'{path} is a tar archive; unpack it, and give the weights in it'
    if re.match(_PICKLE, head):
        if re.search(rb'dnnlib|torch_utils|persistence', head):
            return f'{path} is not read; {_NVIDIA.format(path.name, path.stem)}'
        return (
            f'{path} holds pickled objects, but not by torch.save; they can run any code, and are '
            'not read; if you trust its maker, open it with their code, and save its tensors by '
            'torch.save'
        )
    try:
        # its last character may be cut
        text = codecs.getincrementaldecoder('utf-8')().decode(head).lstrip('\ufeff \t\r\n')
    except UnicodeDecodeError:
        text = ''
    if text.startswith('<'):
        title = re.search(r'<title>(.*?)</title>', text, re.DOTALL | re.IGNORECASE)
        name = f' ({" ".join(title[1].split())[:60]!r})' if title else ''
        return (
            f'{path} is a web page{name}, saved in place of the file; download the file itself '
            '(at Hugging Face and GitHub, the address with /resolve/ or /raw/, not /blob/)'
        )
    if text.startswith(('{', '[')):
        is_index = '"weight_map"' in text
        return f'{path} is JSON, and no file of weights; ' + (
            'it lists files of weights, which are not joined here: give a file of all weights'
            if is_index
            else 'give the file of weights that it belongs to'
        )
    if text and re.sub(r'\s', '', text).isprintable():
        return f'{path} is a text file, which begins with {json.dumps(text[:40])}; {_ANEW}'
    return (
        f'{path} is no file of torch.save, safetensors or npz: it begins with the bytes '
        f'{head[:8].hex(" ")}; give such a file, or {_ANEW}'
    )


class NonFiniteError(ValueError):
    """Losses or weights that are NaN or infinite."""


def find_non_finite(state: object, name: str = '') -> str | None:
    """Describe the first tensor of nested dicts with NaN or infinite values; None without one.

    The first part of an entry's name is its network.
    """
    if isinstance(state, Mapping):
        found = (find_non_finite(v, f'{name}.{k}' if name else str(k)) for k, v in state.items())
        return next(filter(None, found), None)
    if not isinstance(state, Tensor) or bool(state.isfinite().all()):
        return None
    network, _, entry = name.partition('.')
    bad = int((~state.isfinite()).sum())
    return f'{network} is not finite: NaN or infinite in {bad} of {state.numel()} values of {entry}'
