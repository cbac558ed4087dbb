"""Read what a GAN starts from: a file of mmagic's layout, an address, or a name of mmagic's zoo."""

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path

import mmagic
import torch
import yaml
from mmengine.dist import barrier, is_main_process
from torch import Tensor

from disp_plugin.weights import read_weights

ZOO_FOLDER = 'checkpoints'
SUFFIXES = ('.pth', '.pt', '.safetensors', '.ckpt')
CONVERTERS = (
    'weights of StyleGAN2 by NVlabs and rosinality, BigGAN-PyTorch and pfnet SNGAN become a file '
    "of mmagic's layout by tools/model_converters/"
)


@dataclass(frozen=True)
class GANCheckpoint:
    """Entries of a file of mmagic's layout.

    ``meta`` is what a converter notes: ``layout``, whose weights they are; ``channel_order``, 'RGB'
    or 'BGR'; ``activations_in_place``, 'True' or 'False', of the discriminator.
    """

    file: str
    state: dict[str, Tensor]
    meta: dict[str, str] = field(default_factory=dict)


def read_checkpoint(checkpoint: str) -> GANCheckpoint:
    """Read a checkpoint, without running code of it.

    Args:
        checkpoint (str): A file; an address, or the name of a model of mmagic's zoo, whose file is
            downloaded to ``checkpoints/`` if it is not there.

    Raises:
        FileNotFoundError: There is no such file, or it cannot be downloaded.
        ValueError: It cannot be read, as :func:`read_weights` says, or the zoo has no such model.
    """
    path = Path(checkpoint)
    if path.is_dir():
        raise ValueError(f'pretrained.checkpoint is the folder {checkpoint}; {CONVERTERS}')
    if '://' in checkpoint:
        path = _fetch(checkpoint)
    elif '/' not in checkpoint and path.suffix not in SUFFIXES and not path.exists():
        path = _fetch(find_zoo_url(checkpoint))
    if not path.is_file():
        raise FileNotFoundError(
            f'pretrained.checkpoint is {checkpoint!r}, and there is no such file'
        )
    content, notes = read_weights(path)
    state = content.get('state_dict', content)
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    return GANCheckpoint(str(path), tensors, notes)


def find_zoo_url(name: str) -> str:
    """Look up the address of the weights of one of mmagic's published models.

    mmagic ships the index of its models, ``.mim/model-index.yml``, and the metafiles that it lists.

    Raises:
        ValueError: The zoo has no such model, or no weights of it; the message names the nearest.
    """
    folder = Path(mmagic.__file__).parent / '.mim'
    urls = {
        model['Name']: model['Weights']
        for metafile in _read_yaml(folder / 'model-index.yml').get('Import', [])
        for model in _read_yaml(folder / metafile).get('Models', [])
        if model.get('Weights')
    }
    if name not in urls:
        nearest = difflib.get_close_matches(name, urls, n=4, cutoff=0.5)
        hint = f'; the nearest are {", ".join(nearest)}' if nearest else ''
        raise ValueError(
            f"pretrained.checkpoint is {name!r}: no file, and no model of mmagic's zoo that has "
            f'weights{hint}'
        )
    return urls[name]


def _read_yaml(file: Path) -> dict:
    return yaml.safe_load(file.read_text(encoding='utf-8')) or {} if file.is_file() else {}


def _fetch(url: str) -> Path:
    """Download a file to the zoo's folder, once; a name may end in the start of its SHA-256."""
    file = Path(ZOO_FOLDER) / url.rsplit('/', 1)[-1]
    # all processes end where one fails; a barrier would wait for it
    fault = _download(url, file) if is_main_process() else None
    barrier()
    # on another machine than the main process
    fault = fault or _download(url, file)
    if fault is not None:
        raise FileNotFoundError(
            f'{url} could not be downloaded ({fault}); bring the file by other means, as {file}'
        ) from fault
    return file


def _download(url: str, file: Path) -> Exception | None:
    """Download a file that is not there; return what went wrong."""
    if file.is_file():
        return None
    file.parent.mkdir(parents=True, exist_ok=True)
    digest = re.search(r'-([0-9a-f]{8,})$', file.stem)
    try:
        torch.hub.download_url_to_file(url, str(file), hash_prefix=digest and digest[1])
    except (OSError, RuntimeError) as error:  # no way there, or another file than its name says
        return error
    return None
