"""Read the config of a run; merge a method, techniques and ``--cfg-options`` into it."""

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

import disp_plugin
from disp_plugin.cli.check_config import check_config, check_kinds
from disp_plugin.cli.errors import building
from disp_plugin.cli.options import accepted_fields, check_options, find_class, nearest, read_option
from disp_plugin.datasets import split_manifest
from disp_plugin.settings import (
    SHORT_NAMES,
    check_top_level,
    find_dataset,
    find_places,
    get_value,
    read_config,
)

__all__ = ['build_training_set', 'load_config', 'merge_options', 'merge_part']

REPLACED = ('encoder', 'model.sampler', 'model.perceptual.encoder')
"""Parts of which an option keeps nothing once their type changes: its arguments are others."""

FOLLOWERS = ('data_root', 'image_size', 'white_level')
"""Short names that also reach a data set of validation or test that held the training set's."""


def load_config(
    file: str | Path,
    options: Mapping[str, object] | None = None,
    method: str | None = None,
    techniques: Iterable[str] = (),
) -> Config:
    """Read the config of a run, merge what the command line says into it, and check the whole.

    Args:
        file (str | Path): The config file.
        options (Mapping[str, object] | None): Short name or dotted path -> value, as
            ``OptionsAction`` gives; merged last. Defaults to None.
        method (str | None): Name of a file in ``configs/_base_/methods/``, or such a file. Defaults
            to None, or 'disp': the config as it is.
        techniques (Iterable[str]): Likewise of ``configs/_base_/techniques/``. Defaults to ().

    Raises:
        FileNotFoundError: There is no such file; the message names the nearest one beside it.
        ValueError: The file is no config, or sets a short name that nothing reads; there is no such
            method or technique; an option names a field that does not exist; or a class, a field or
            a value is one that no run can have.
    """
    import disp_plugin.register  # noqa: F401  whose classes the config may name

    cfg = read_config(file)
    check_kinds(cfg, Path(file).name)
    check_top_level(cfg)
    given = dict(options or {})
    scale = _length_of_priors(cfg)
    if method is not None and method != 'disp':
        merge_part(cfg, 'methods', method)
    for technique in techniques:
        merge_part(cfg, 'techniques', technique)
    merge_options(cfg, given)
    if method is not None and cfg.model.get('per_image') and cfg.model.get('prior_dim') is None:
        cfg.model.prior_dim = len(build_training_set(cfg))
        if 'model.per_image_scale' not in given:
            cfg.model.per_image_scale = scale
    check_config(cfg, Path(file).name)
    return cfg


def merge_part(cfg: Config, kind: str, name: str) -> None:
    """Merge a method or technique into a config, as a file that inherits both would.

    Args:
        cfg (Config): Changed in place; the part stands at its top, too, as it does in such a file.
        kind (str): 'methods' or 'techniques', a folder of ``configs/_base_/``.
        name (str): Name of a file there without its ending, or path of a file of one's own.

    Raises:
        ValueError: There is no such part, or its file does not define a dict named as the file.
    """
    file = Path(name) if name.endswith('.py') else _find_part(kind, name)
    part = read_config(file).get(file.stem)
    if not isinstance(part, Mapping):
        raise ValueError(f'{file} must define a dict {file.stem} with fields of a config')
    had_bank = get_value(cfg, find_places(cfg, 'bank_file')[0]) is not None
    cfg.merge_from_dict({file.stem: copy.deepcopy(part), **copy.deepcopy(dict(part))})
    for field in part:
        _drop_delete_keys(cfg[field], part[field])
    dataset = find_dataset(cfg)
    if dataset is not None and had_bank and get_value(part, 'train_dataloader.dataset') is not None:
        _drop_bank(get_value(cfg, dataset))


def _find_part(kind: str, name: str) -> Path:
    folder = Path(disp_plugin.base('disp_biggan_folder.py')).parent / '_base_' / kind
    known = sorted(path.stem for path in folder.glob('*.py'))
    if name not in known:
        best = nearest(name, known)
        hint = f'did you mean {best}?' if best else f'known are {", ".join(known)}'
        raise ValueError(f'--{kind[:-1]} {name}: there is no such {kind[:-1]}; {hint}')
    return folder / f'{name}.py'


def _drop_delete_keys(node: object, part: object) -> None:
    """Remove the ``_delete_`` that mmengine leaves where there was nothing to delete."""
    if isinstance(part, Mapping) and isinstance(node, Mapping):
        node.pop('_delete_', None)  # type: ignore[attr-defined]
        for name in part:
            if name in node:
                _drop_delete_keys(node[name], part[name])


def _drop_bank(dataset: ConfigDict) -> None:
    """Remove the bank from a data set that reads it in its pipeline."""
    accepted = accepted_fields(find_class(dataset.get('type')))
    if dataset.get('bank_file', '') is not None or accepted is None or 'bank_file' in accepted:
        return
    del dataset['bank_file']
    dataset['pipeline'] = [
        step for step in dataset.get('pipeline', ()) if step.get('type') != 'LoadPrior'
    ]


def _length_of_priors(cfg: Config) -> float:
    """Give the length that ``prior_norm`` brings priors to; 1 where it keeps their own."""
    model = cfg.get('model') or {}
    if model.get('prior_norm', 'none') == 'none':
        return 1.0
    return float(model.get('prior_length') or model['prior_dim'] ** 0.5)


def build_training_set(cfg: Config) -> Any:
    """Build the training set of a config without its bank, which need not exist yet.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: It holds no image.
    """
    from mmagic.registry import DATASETS

    path = find_dataset(cfg)
    dataset = copy.deepcopy(dict(get_value(cfg, path or '')))
    if 'bank_file' in dataset:
        dataset['bank_file'] = None
    with building(path or 'train_dataloader.dataset'):
        return DATASETS.build(dataset)


def merge_options(cfg: Config, options: Mapping[str, object]) -> Config:
    """Merge ``--cfg-options`` into a config.

    A short name of :data:`SHORT_NAMES` reaches every place that it stands for; ``data_root``,
    ``image_size`` and ``white_level`` also reach the data sets of validation and test that held the
    training set's value; a manifest as ``data_root`` stands for its folder and ``ann_file``. An
    option with the whole path wins. An ``encoder.type`` that differs from the config's replaces the
    encoder as a whole, because the arguments of another type would not fit; so does
    ``encoder=dict(...)``; and likewise for ``model.sampler`` and
    ``model.perceptual.encoder``.

    Args:
        cfg (Config): Changed in place.
        options (Mapping[str, object]): Short name or dotted path -> value.

    Raises:
        ValueError: An option names a field that does not exist.
    """
    expanded: dict[str, object] = {}
    data_root, ann_file = split_manifest(str(options.get('data_root', '')))
    if ann_file:
        if 'ann_file' in options:
            raise ValueError(
                f'--cfg-options data_root={options["data_root"]} is a file and so a manifest; give '
                'the folder of the images, or leave ann_file out'
            )
        options = {**options, 'ann_file': ann_file, 'data_root': data_root}
    for name, value in options.items():
        if name in SHORT_NAMES:
            places = find_places(cfg, name) + _find_followers(cfg, name)
            # mmagic's configs repeat some at their top
            places += [name] if name in cfg else []
            expanded.update({place: copy.deepcopy(value) for place in places})
    expanded.update(
        {name: copy.deepcopy(v) for name, v in options.items() if name not in SHORT_NAMES}
    )
    for name, value in expanded.items():
        kind = expanded.get(f'{name.rpartition(".")[0]}.type')
        expanded[name] = read_option(cfg._cfg_dict, name, value, kind)
    for part in REPLACED:
        old, new_type = get_value(cfg, part), expanded.get(f'{part}.type')
        if new_type is not None and new_type != (old or {}).get('type'):
            expanded[f'{part}._delete_'] = True
        if isinstance(new := expanded.get(part), Mapping) and old is not None:
            expanded[part] = {**new, '_delete_': True}
    for name, value in expanded.items():
        parent, _, last = name.rpartition('.')
        node = get_value(cfg, parent) if parent else cfg
        if isinstance(value, Mapping) and node is not None and last in node and node[last] is None:
            expanded[name] = {**value, '_delete_': True}  # mmengine merges no dict into None
    file = Path(cfg.filename).name if cfg.filename else ''
    check_options(cfg._cfg_dict, expanded, file=file, known=SHORT_NAMES)
    try:
        cfg.merge_from_dict(expanded)
    except TypeError as error:
        raise ValueError(f'--cfg-options: {error}') from error
    return cfg


def _find_followers(cfg: Config, name: str) -> list[str]:
    """List places of other data sets that hold what the training set holds."""
    if name not in FOLLOWERS:
        return []
    value = get_value(cfg, find_places(cfg, name)[-1])
    datasets = [find_dataset(cfg, f'{split}_dataloader') for split in ('val', 'test')]
    if name == 'white_level':  # which most leave out
        datasets = [p for p in datasets if get_value(cfg, f'{p}.type') == 'ImageFolderDataset']
    elif value is None:
        return []
    places = [f'{dataset}.{name}' for dataset in datasets if dataset]
    return [place for place in places if get_value(cfg, place) == value]
