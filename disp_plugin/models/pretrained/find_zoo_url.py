"""Checkpoints of mmagic's model zoo by name."""

import difflib
from pathlib import Path

import mmagic
import yaml


def find_zoo_url(name: str) -> str:
    """Look up where the weights of one of mmagic's published models are.

    mmagic ships the index of its models, ``.mim/model-index.yml``, and the metafiles that it lists.

    Args:
        name (str): Name of the model, such as
            'biggan_ajbrock-sn_8xb32-1500kiters_imagenet1k-128x128'.

    Returns:
        str: The address of its file.

    Raises:
        ValueError: The zoo has no such model, or no weights of it; the message names the nearest.
    """
    folder = Path(mmagic.__file__).parent / '.mim'
    urls = {}
    for metafile in _read(folder / 'model-index.yml').get('Import', []):
        for model in _read(folder / metafile).get('Models', []):
            if model.get('Weights'):
                urls[model['Name']] = model['Weights']
    if name not in urls:
        nearest = difflib.get_close_matches(name, urls, n=4, cutoff=0.5)
        hint = f'; the nearest are {", ".join(nearest)}' if nearest else ''
        raise ValueError(
            f"pretrained.checkpoint is {name!r}: no file or folder, and no model of mmagic's zoo "
            f'that has weights{hint}'
        )
    return urls[name]


def _read(file: Path) -> dict:
    if not file.is_file():
        return {}
    return yaml.safe_load(file.read_text(encoding='utf-8')) or {}
