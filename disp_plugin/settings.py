"""Where a config holds each setting, and the short names of the command line."""

import ast
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from disp_plugin.datasets import split_manifest
from disp_plugin.files import check_config_file
from disp_plugin.upstream import patch_config_reading

__all__ = [
    'SHORT_NAMES',
    'check_top_level',
    'find_bank_file',
    'find_dataset',
    'find_places',
    'get_value',
    'read_config',
]

DATASET = 'train_dataloader.dataset'

SHORT_NAMES: dict[str, tuple[str, ...]] = {
    'data_root': (f'{DATASET}.data_root',),
    'ann_file': (f'{DATASET}.ann_file',),
    'bank_file': (f'{DATASET}.bank_file',),
    'white_level': (f'{DATASET}.white_level',),
    'flip': (f'{DATASET}.flip',),
    'image_size': ('model.image_size', f'{DATASET}.image_size'),
    'batch_size': ('train_dataloader.batch_size',),
    'max_iters': ('train_cfg.max_iters',),
    'prior_dim': ('model.prior_dim',),
    'prior_norm': ('model.prior_norm',),
    'prior_length': ('model.prior_length',),
}
"""Short name of ``--cfg-options`` -> dotted paths where a config holds the setting."""


def read_config(file: str | Path) -> Config:
    """Read a config file as mmengine does; its faults are told with the file's name.

    Raises:
        FileNotFoundError: There is no such file, nor a base of it; the message names the nearest
            one beside the file.
        ValueError: It is no config, or its code fails.
    """
    path = check_config_file(file)
    patch_config_reading()  # bases such as mmagic:: need pkg_resources, which may be gone
    try:
        return Config.fromfile(str(path))
    except FileNotFoundError as error:
        raise FileNotFoundError(f'config file {path} needs {error.filename or error}') from error
    except RecursionError as error:
        raise ValueError(f'config file {path} inherits itself') from error
    except Exception as error:  # a config is code, and may raise anything
        raise ValueError(f'config file {path}: {_explain_fault(error)}') from error


def _explain_fault(error: BaseException) -> str:
    """Say in one line what is wrong with a config."""
    text = ' '.join(str(error).split())
    if isinstance(error, SyntaxError):
        where = f'line {error.lineno}' if error.lineno else 'an unknown line'
        return f'{error.msg} in {where}{f": {error.text.strip()}" if error.text else ""}'
    if isinstance(error, OSError) and 'type are supported' in text:
        return 'a config is a .py, .yml, .yaml or .json file'
    if isinstance(error, (NameError, ValueError)) or 'cannot inherit from base' in text:
        return text
    return f'{type(error).__name__}: {text}'


def get_value(cfg: Mapping[str, object], path: str) -> Any:
    """Follow a dotted path, which may count through lists; None where it ends early."""
    node: object = getattr(cfg, '_cfg_dict', cfg)
    for name in path.split('.'):
        if isinstance(node, (list, tuple)) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        elif isinstance(node, Mapping):
            node = node.get(name)
        else:
            return None
    return node


def find_dataset(cfg: Mapping[str, object], loader: str = 'train_dataloader') -> str | None:
    """Find the dotted path of a loader's data set below its wrappers; None without one."""
    path = f'{loader}.dataset'
    while isinstance(get_value(cfg, f'{path}.dataset'), Mapping):
        path += '.dataset'
    return path if isinstance(get_value(cfg, path), Mapping) else None


def find_places(cfg: Mapping[str, object], name: str) -> list[str]:
    """List the dotted paths where a config holds the setting of a short name.

    Looks into wrapped data sets; ``bank_file`` is that of ``LoadPrior`` where a pipeline has one.
    """
    dataset = find_dataset(cfg) or DATASET
    places = [path.replace(DATASET, dataset) for path in SHORT_NAMES[name]]
    if name == 'bank_file':
        for index, step in enumerate(get_value(cfg, f'{dataset}.pipeline') or ()):
            if isinstance(step, Mapping) and step.get('type') == 'LoadPrior':
                places = [f'{dataset}.pipeline.{index}.bank_file']
    return places


def find_bank_file(cfg: Mapping[str, object]) -> Path | None:
    """Find the path of the bank that a config names, in its data set or in ``LoadPrior``."""
    place = find_places(cfg, 'bank_file')[0]
    bank_file = get_value(cfg, place)
    if not bank_file:
        return None
    root = '' if '.pipeline.' in place else get_value(cfg, find_places(cfg, 'data_root')[0])
    return Path(split_manifest(str(root or ''))[0], os.path.expanduser(bank_file))


def check_top_level(cfg: Mapping[str, object]) -> None:
    """Raise if a run's files set a short name at their top, where nothing reads it.

    Configs of other packages, such as mmagic's, may repeat settings there, and so may a file
    without a base, such as the one that mmengine writes into a work folder.

    Raises:
        ValueError: The message names the place to write it.
    """
    file = getattr(cfg, 'filename', None)
    if not file or Path(file).suffix != '.py' or not Path(file).is_file():
        return
    if not Config._get_base_files(str(file)):
        return
    for name in sorted(_read_names(Path(file)) & set(SHORT_NAMES) & set(cfg)):
        places = find_places(cfg, name)
        if all(get_value(cfg, place) == cfg[name] for place in places):
            continue
        raise ValueError(
            f'{name}={cfg[name]!r} at the top of {file} has no effect. Write '
            + ' and '.join(_as_config(place, cfg[name]) for place in places)
            + f', or give --cfg-options {name}=... to tools/train.py'
        )


def _read_names(file: Path) -> set[str]:
    """List the names that a config and its bases, but for those of other packages, set."""
    tree = ast.parse(file.read_text(encoding='utf-8'))
    targets = [t for node in tree.body if isinstance(node, ast.Assign) for t in node.targets]
    names = {target.id for target in targets if isinstance(target, ast.Name)}
    for base in Config._get_base_files(str(file)):
        path, scope = Config._get_cfg_path(base, str(file))
        if scope in (None, 'disp_plugin'):
            names |= _read_names(Path(path))
    return names


def _as_config(place: str, value: object) -> str:
    """Write a dotted path as nested dicts."""
    if '.pipeline.' in place:
        return f'LoadPrior(bank_file={value!r}) in the pipeline of the training data set'
    top, *middle, last = place.split('.')
    inner = ''.join(f'{name}=dict(' for name in middle)
    return f'{top} = dict({inner}{last}={value!r}{")" * len(middle)})'
