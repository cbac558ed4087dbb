"""Load a trained GAN from its checkpoint alone, without running any code of the file."""

import re
from pathlib import Path
from typing import TypedDict, cast

import torch
from mmagic.models.base_models import BaseGAN
from mmagic.registry import MODELS
from mmengine.config import Config, ConfigDict
from torch import Tensor

import disp_plugin.register  # noqa: F401  registers all that a config of ours names
from disp_plugin.literals import parse_config_text
from disp_plugin.settings import read_config
from disp_plugin.weights import NonFiniteError, find_non_finite, list_some, read_weights

__all__ = ['find_checkpoint', 'list_snapshots', 'load_gan', 'read_checkpoint', 'read_config_of']


def find_checkpoint(checkpoint: str | Path) -> Path:
    """Find the last checkpoint of a work folder; a file stands for itself.

    Args:
        checkpoint (str | Path): A file, or the folder that training wrote. Its file
            ``last_checkpoint`` names the newest one, by a path that is looked for within the folder
            first, since that may have moved.

    Raises:
        FileNotFoundError: The folder holds no checkpoint, or the newest one is gone; the message
            names the newest that can be read.
    """
    path = Path(checkpoint).expanduser()
    if not path.is_dir():
        return path
    pointer, snapshots = path / 'last_checkpoint', list_snapshots(path)
    text = pointer.read_text(encoding='utf-8', errors='replace') if pointer.is_file() else ''
    named = Path(text.strip())
    for file in (path / re.split(r'[\\/]', text.strip())[-1], named):
        if file.is_file():
            return file
    # a run that was killed may have saved another before it could name it
    if snapshots and get_iteration(snapshots[0]) > get_iteration(named):
        return snapshots[0]
    if not text.strip():
        raise FileNotFoundError(
            f'{path} is a folder without the file last_checkpoint, which training writes as it '
            'saves; give the work folder of a run that has saved, or a checkpoint file'
        )
    raise FileNotFoundError(
        f'{pointer} names {named}, which does not exist, nor does {path / named.name}'
        + (_name_another(path / named.name) or '; give a checkpoint file')
    )


def list_snapshots(folder: Path) -> list[Path]:
    """List the checkpoints that training saved by iteration, the newest first."""
    files = [file for file in folder.glob('*.pth') if get_iteration(file) >= 0]
    return sorted(files, key=get_iteration, reverse=True)


def get_iteration(file: Path) -> int:
    """Get the iteration that a checkpoint's name says; -1 if none."""
    match = re.fullmatch(r'(?:iter|epoch)_(\d+)\.pth', file.name)
    return int(match[1]) if match else -1


def _name_another(damaged: Path) -> str:
    """Name the newest checkpoint beside a damaged one that can be read; '' if none."""
    for file in list_snapshots(damaged.parent):
        try:
            if file != damaged and 'state_dict' in read_weights(file).content:
                return (
                    f'. The newest beside it that is whole is {file}: give that one '
                    f'(training goes on from it by --resume-from {file})'
                )
        except ValueError:
            continue
    return ''


class Checkpoint(TypedDict, total=False):
    """What is read of a file that mmengine wrote; it may hold more."""

    state_dict: dict[str, Tensor]
    meta: dict[str, object]
    prior_bank: dict[str, object]  # of PriorSamplerHook


def read_checkpoint(checkpoint: str | Path) -> Checkpoint:
    """Read a checkpoint onto the CPU without executing anything of it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no checkpoint; of a run's, the newest other that is whole is named.
    """
    path = Path(checkpoint)
    try:
        content = read_weights(path).content
    except ValueError as error:
        raise ValueError(f'{error}{_name_another(path)}') from error
    if 'state_dict' not in content:
        raise ValueError(
            f'{path} is not a checkpoint of mmengine: it has no state_dict, but '
            f'{list_some(content)}'
        )
    return cast(Checkpoint, content)


def load_gan(
    checkpoint: str | Path, config: str | Path | None = None, device: str | torch.device = 'cpu'
) -> tuple[BaseGAN, Config | ConfigDict]:
    """Build the GAN of a checkpoint and load its weights, sampler and statistics.

    Args:
        checkpoint (str | Path): A checkpoint file, or a work folder: its last checkpoint.
        config (str | Path | None): A config file to use instead of the one that the checkpoint
            holds. Unlike that one it is executed, as configs are. Defaults to None.
        device (str | torch.device): Where the model goes. Defaults to 'cpu'.

    Returns:
        tuple[BaseGAN, Config | ConfigDict]: The GAN in evaluation mode, and its config.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: The file is no checkpoint, holds no config, or does not fit the config.
        NonFiniteError: A network has weights that are NaN or infinite.
    """
    path = find_checkpoint(checkpoint)
    content = read_checkpoint(path)
    cfg = _find_config(path, content, config)
    model_cfg = ConfigDict(cfg['model'], pretrained=None)
    if 'prior_dim' not in model_cfg:
        model_cfg.pop('pretrained')  # one of mmagic's own, which does not know that field
    if 'perceptual' in model_cfg:
        model_cfg.perceptual = None  # a loss: sampling must not need its weights
    gan = MODELS.build(model_cfg)
    try:
        gan.load_state_dict(content['state_dict'])
    except RuntimeError as error:
        found, wanted = content['state_dict'], gan.state_dict()
        shapes = [key for key in wanted if key in found and found[key].shape != wanted[key].shape]
        raise ValueError(
            f'the checkpoint {path} does not fit the model of its config: it lacks '
            f'{list_some(sorted(wanted.keys() - found.keys()))}; it has besides '
            f'{list_some(sorted(found.keys() - wanted.keys()))}; of another shape are '
            f'{list_some(shapes)}'
        ) from error
    if (fault := find_non_finite(content['state_dict'])) is not None:
        raise NonFiniteError(f'{path} cannot be used: {fault}; give an earlier snapshot of the run')
    return gan.to(device).eval(), cfg


def read_config_of(content: Checkpoint) -> ConfigDict:
    """Read the config that a checkpoint holds; an empty one where it holds none that is whole."""
    text = (content.get('meta') or {}).get('cfg')
    try:
        return parse_config_text(text) if isinstance(text, str) else ConfigDict()
    except ValueError:
        return ConfigDict()


def _find_config(path: Path, content: Checkpoint, config: str | Path | None) -> Config | ConfigDict:
    if config is not None:
        return read_config(config)
    text = (content.get('meta') or {}).get('cfg')
    if not isinstance(text, str):
        raise ValueError(f'{path} holds no config; name its config file by --config')
    try:
        return parse_config_text(text)
    except ValueError as error:
        raise ValueError(f'{path}: {error}; name its config file by --config') from error
