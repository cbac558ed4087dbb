"""Read what a GAN is to start from: a file, a folder, one file a network, or a name of the zoo."""

import argparse
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from mmengine.runner.checkpoint import CheckpointLoader

from .find_zoo_url import find_zoo_url

ZOO_FOLDER = 'checkpoints'
SUFFIXES = ('.pth', '.pt', '.npz', '.pkl', '.zip', '.tar', '.ckpt')

# Files of a folder: those of BigGAN-PyTorch end in the name of the copy, those of pfnet's SNGAN in
# the number of updates.
FOLDER_FILES = {
    'generator': r'G(?:_(?!ema|optim)(?P<biggan>.+))?\.pth|\w*Generator_(?P<sngan>\d+)\.npz',
    'generator_ema': r'G_ema(?:_(?P<biggan>.+))?\.pth',
    'discriminator': r'D(?:_(?!optim)(?P<biggan>.+))?\.pth|\w*Discriminator_(?P<sngan>\d+)\.npz',
}

PICKLE_TEXT = """{file} holds pickled objects, which can run any code, and is not read. If it is a \
network pickle of NVlabs, save its weights as tensors: run this with Python in a checkout of \
github.com/NVlabs/stylegan2-ada-pytorch, and set pretrained.checkpoint to the file that it writes

import legacy, torch
with open({file!r}, 'rb') as file:
    networks = legacy.load_network_pkl(file)
torch.save({{name: networks[name].state_dict() for name in ('G', 'D', 'G_ema')}}, {target!r})
"""


def read_checkpoint(checkpoint: str | Mapping[str, str]) -> tuple[str, Mapping[str, Any]]:
    """Read a checkpoint, without running code of it.

    Args:
        checkpoint (str | Mapping[str, str]): A local file; an address; the name of a model of
            mmagic's zoo, whose file is downloaded to ``checkpoints/`` if it is not there; a folder
            of BigGAN-PyTorch's or pfnet SNGAN's files with one snapshot; or, of several, the files
            as ``dict(generator=..., generator_ema=..., discriminator=...)``.

    Returns:
        tuple[str, Mapping[str, Any]]: What was read, as a path, and its entries; where there is a
        file a network, one mapping for each network.

    Raises:
        FileNotFoundError: There is no such file, or none of the layouts in the folder.
        ValueError: A file is a pickle, an archive or damaged, the folder has several snapshots, the
            zoo no such model, or a network is none of the three.
    """
    if isinstance(checkpoint, Mapping):
        return _read_parts({part: str(file) for part, file in checkpoint.items()})
    path = Path(checkpoint)
    if path.is_dir():
        return checkpoint, _read_parts(_list_folder(path))[1]
    is_name = '/' not in checkpoint and path.suffix not in SUFFIXES
    if is_name and not path.exists():
        checkpoint = _fetch(find_zoo_url(checkpoint))
    return checkpoint, _read_file(checkpoint)


def _read_parts(files: dict[str, str]) -> tuple[str, Mapping[str, Any]]:
    unknown = [part for part in files if part not in FOLDER_FILES]
    if unknown or not files:
        raise ValueError(
            f'pretrained.checkpoint has files for {", ".join(unknown) or "no network"}; it can '
            f'have them for {", ".join(FOLDER_FILES)}'
        )
    content = {part: _read_file(file) for part, file in files.items()}
    return ', '.join(files.values()), content


def _list_folder(folder: Path) -> dict[str, str]:
    """Find the files of the only snapshot in a folder."""
    snapshots: dict[str, dict[str, str]] = {}
    for file in sorted(folder.iterdir()):
        for part, pattern in FOLDER_FILES.items():
            if match := re.fullmatch(pattern, file.name):
                name = next(filter(None, match.groupdict().values()), '')
                snapshots.setdefault(name, {})[part] = str(file)
    if not snapshots:
        raise FileNotFoundError(
            f'pretrained.checkpoint is the folder {str(folder)!r}, and it has no files of '
            'BigGAN-PyTorch (G.pth, G_ema.pth, D.pth) or of pfnet SNGAN (ResNetGenerator_450000.'
            'npz, SNResNetProjectionDiscriminator_450000.npz)'
        )
    if len(snapshots) > 1 and '' not in snapshots:
        raise ValueError(
            f'{folder} has several snapshots: {", ".join(snapshots)}; give the files of one as '
            "pretrained.checkpoint=dict(generator='...', discriminator='...'), with "
            "generator_ema='...' where there is one"
        )
    return snapshots.get('') or next(iter(snapshots.values()))


def _fetch(url: str) -> str:
    """Download a file of the zoo unless it is there; its name ends in the start of its SHA-256."""
    file = Path(ZOO_FOLDER) / url.rsplit('/', 1)[-1]
    fault = _download(url, file) if is_main_process() else None
    barrier()
    # on another machine than the main process
    fault = fault or _download(url, file)
    if fault is not None:
        raise FileNotFoundError(
            f'{url} could not be downloaded ({fault}); bring the file by other means, as {file}'
        ) from fault
    return str(file)


def _download(url: str, file: Path) -> Exception | None:
    """Download a file that is not there; return what went wrong, for all processes to end."""
    if file.is_file():
        return None
    file.parent.mkdir(parents=True, exist_ok=True)
    digest = re.search(r'-([0-9a-f]{8,})$', file.stem)
    try:
        torch.hub.download_url_to_file(url, str(file), hash_prefix=digest and digest[1])
    except (OSError, RuntimeError) as error:  # no way there, or another file than its name says
        return error
    return None


def _read_file(checkpoint: str) -> Mapping[str, Any]:
    path = Path(checkpoint)
    if '://' not in checkpoint and not path.is_file():
        raise FileNotFoundError(
            f'pretrained.checkpoint is {checkpoint!r}, and there is no such file'
        )
    help_text = PICKLE_TEXT.format(file=path.name, target=f'{path.stem}-tensors.pth')
    if path.suffix == '.pkl':
        raise ValueError(help_text)
    if path.suffix == '.zip':
        raise ValueError(
            f'{checkpoint} is an archive; unpack it and set pretrained.checkpoint to the folder'
        )
    try:
        if path.suffix == '.npz':
            return _read_arrays(path)
        # rosinality's training saves its options, which are plain values in a Namespace
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    except pickle.UnpicklingError as error:
        raise ValueError(help_text) from error
    except (RuntimeError, EOFError, BadZipFile) as error:
        raise ValueError(f'{checkpoint} is no checkpoint, or is damaged: {error}') from error
    if not isinstance(content, Mapping):
        raise ValueError(
            f'{checkpoint} holds a {type(content).__name__}, but a checkpoint is a dict of tensors'
        )
    return content


def _read_arrays(file: Path) -> dict[str, torch.Tensor]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: torch.as_tensor(arrays[name]) for name in arrays.files}
    except ValueError as error:  # objects, which are pickled
        raise ValueError(f'{file} holds something else than arrays of numbers: {error}') from error
