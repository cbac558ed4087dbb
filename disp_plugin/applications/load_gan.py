"""Load a trained GAN from its checkpoint alone, without running any code of the file."""

from pathlib import Path
from typing import TypedDict

import torch
from mmagic.models.base_models import BaseGAN
from mmagic.registry import MODELS
from mmengine.config import Config, ConfigDict
from torch import Tensor

import disp_plugin.register  # noqa: F401  registers all that a config of ours names
from disp_plugin.literals import parse_config_text
from disp_plugin.upstream import patch_config_reading

__all__ = ['find_checkpoint', 'load_gan', 'read_checkpoint']


def find_checkpoint(checkpoint: str | Path) -> Path:
    """Find the last checkpoint of a work folder; a file stands for itself.

    Args:
        checkpoint (str | Path): A file, or the folder that training wrote. Its file
            ``last_checkpoint`` names the newest one; a folder that was moved is searched first.

    Raises:
        FileNotFoundError: The folder holds no ``last_checkpoint``, or what that names is gone.
    """
    path = Path(checkpoint)
    if not path.is_dir():
        return path
    pointer = path / 'last_checkpoint'
    if not pointer.is_file():
        raise FileNotFoundError(
            f'{path} is a folder without the file last_checkpoint, which training writes as it '
            'saves; give the work folder of a run that has saved, or a checkpoint file'
        )
    named = Path(pointer.read_text(encoding='utf-8').strip())
    for file in (path / named.name, named):
        if file.is_file():
            return file
    raise FileNotFoundError(
        f'{pointer} names {named}, which does not exist, nor does {path / named.name}; give a '
        'checkpoint file'
    )


class Checkpoint(TypedDict, total=False):
    """What is read of a file that mmengine wrote; it may hold more."""

    state_dict: dict[str, Tensor]
    meta: dict[str, object]
    prior_bank: dict[str, object]  # of PriorSamplerHook


def read_checkpoint(checkpoint: str | Path) -> Checkpoint:
    """Read a checkpoint onto the CPU without executing anything of it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no checkpoint.
    """
    path = Path(checkpoint)
    if not path.is_file():
        raise FileNotFoundError(f'the checkpoint {path} does not exist')
    try:
        content: Checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch raises what the bytes lead to: a text file, a KeyError
        raise ValueError(
            f'{path} is not a readable checkpoint: it is damaged, is another kind of file, or '
            'holds more than tensors and plain values, which is not read, since it could run code '
            f'({type(error).__name__})'
        ) from error
    if not isinstance(content, dict) or 'state_dict' not in content:
        raise ValueError(f'{path} is not a checkpoint of mmengine: it has no state_dict')
    return content


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
    """
    path = find_checkpoint(checkpoint)
    content = read_checkpoint(path)
    cfg = _find_config(path, content, config)
    model_cfg = ConfigDict(cfg['model'], pretrained=None)
    if 'prior_dim' not in model_cfg:
        model_cfg.pop('pretrained')  # one of mmagic's own, which does not know that field
    gan = MODELS.build(model_cfg)
    try:
        gan.load_state_dict(content['state_dict'])
    except RuntimeError as error:
        lines = str(error).strip().split('\n')
        raise ValueError(
            f'the checkpoint {path} does not fit the model of its config: '
            + ' '.join(line.strip() for line in lines[1:4])[:500]
        ) from error
    return gan.to(device).eval(), cfg


def _find_config(path: Path, content: Checkpoint, config: str | Path | None) -> Config | ConfigDict:
    if config is not None:
        patch_config_reading()
        return Config.fromfile(str(config))
    text = (content.get('meta') or {}).get('cfg')
    if not isinstance(text, str):
        raise ValueError(f'{path} holds no config; name its config file by --config')
    try:
        return parse_config_text(text)
    except ValueError as error:
        raise ValueError(f'{path}: {error}; name its config file by --config') from error
