"""What is settled before a run starts: its folder, precision, training set and bank."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from disp_plugin.cli.check_sizes import find_stylegan2_networks
from disp_plugin.distributed import read_rank, show_work, wait_for_file
from disp_plugin.files import describe_bytes, get_free_bytes

__all__ = [
    'check_is_a_run',
    'check_training_set',
    'choose_work_dir',
    'ensure_bank',
    'prepare_work_dir',
    'set_resume',
    'summarize',
    'turn_on_amp',
]

FP16_SCALES = 4
"""num_fp16_res of the official StyleGAN2-ADA, https://github.com/NVlabs/stylegan2-ada-pytorch."""

LEAST_FREE_BYTES = 512 * 2**20
"""Free space that a work folder must have: less does not hold a few checkpoints of small models."""


def choose_work_dir(cfg: Config, work_dir: str | None, config_file: str) -> str:
    """Settle the work folder: the argument, then the config, then the config's name.

    Args:
        cfg (Config): Its ``work_dir`` is set.
        work_dir (str | None): What the user asked for.
        config_file (str): Names the folder where nothing else does.

    Returns:
        str: The folder.
    """
    cfg.work_dir = work_dir or cfg.get('work_dir') or f'work_dirs/{Path(config_file).stem}'
    return cfg.work_dir


def prepare_work_dir(cfg: Config, work_dir: str | None, config_file: str) -> str:
    """Settle the work folder, make it and try it out.

    Args:
        cfg (Config): Its ``work_dir`` is set.
        work_dir (str | None): What the user asked for.
        config_file (str): Names the folder where nothing else does.

    Returns:
        str: The folder, which exists, can be written to and has room for a checkpoint.

    Raises:
        OSError: It cannot be created or written to.
        ValueError: Less than 512 MiB are free there, there is no permission, or a part of its path
            is a file.
    """
    folder = choose_work_dir(cfg, work_dir, config_file)
    way_out = 'choose another by --work-dir'
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b'x')
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(
            f'the work folder {folder} cannot be made: {_file_on_the_way(folder)} is a file; '
            f'{way_out}'
        ) from error
    except PermissionError as error:
        raise ValueError(
            f'no permission to write to the work folder {folder} ({error.filename}); {way_out}'
        ) from error
    free = get_free_bytes(folder)
    if free < LEAST_FREE_BYTES:
        raise ValueError(
            f'the work folder {folder} has {describe_bytes(free)} of free space, but checkpoints '
            f'need at least {describe_bytes(LEAST_FREE_BYTES)}; free some, or {way_out}'
        )
    return folder


def _file_on_the_way(folder: str) -> Path:
    """Find the part of a path that is no folder."""
    path = Path(folder)
    return next((p for p in (path, *path.parents) if p.exists() and not p.is_dir()), path)


def set_resume(cfg: Config, resume: bool, checkpoint: str | None) -> None:
    """Make the run continue an earlier one.

    Args:
        cfg (Config): Its ``resume`` and ``load_from`` are set.
        resume (bool): Continue from the newest checkpoint of the work folder, if it has one.
        checkpoint (str | None): Continue from this file.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
    """
    if checkpoint is not None:
        if not Path(checkpoint).is_file():
            raise FileNotFoundError(f'the checkpoint {checkpoint} to resume from does not exist')
        cfg.load_from = checkpoint
    if resume or checkpoint is not None:
        cfg.resume = True


def turn_on_amp(cfg: Config, has_gpu: bool | None = None) -> list[str]:
    """Give every optimizer of a config mixed precision with dynamic loss scaling.

    mmagic's own ``--amp`` does nothing for a GAN: it looks for a ``type`` in the wrappers of
    generator and discriminator, which have none, because theirs is the default. Its StyleGAN2 does
    not ask the wrapper where to use float16 but runs its largest feature maps in it, four sizes of
    them as in the official code, unless the config says how many (``num_fp16_scales``). A
    generator that starts from a checkpoint stays in float32: mmagic/models/editors/stylegan2/
    stylegan2_modules.py:238 makes another function of the same weights in float16.

    Args:
        cfg (Config): Its ``optim_wrapper`` is changed, and the networks of a StyleGAN2.
        has_gpu (bool | None): Whether there is a GPU. Defaults to None, which means to look.

    Returns:
        list[str]: Names of the wrappers, such as ``['generator', 'discriminator']``.

    Raises:
        ValueError: There is no GPU, or a wrapper has a type of its own.
    """
    if not (torch.cuda.is_available() if has_gpu is None else has_gpu):
        raise ValueError('--amp needs a CUDA GPU, and there is none here; train without --amp')
    wrappers = cfg.optim_wrapper
    if 'optimizer' in wrappers:
        named = {'optim_wrapper': wrappers}
    else:
        named = {name: w for name, w in wrappers.items() if isinstance(w, Mapping)}
    for name, wrapper in named.items():
        kind = wrapper.get('type', 'OptimWrapper')
        if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
            raise ValueError(
                f'--amp turns OptimWrapper into AmpOptimWrapper, but the config gives {name} '
                f'the type {kind!r}'
            )
        wrapper['type'] = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')
    model = cfg.get('model') or {}
    for network in find_stylegan2_networks(model):
        if 'out_size' in network and model.get('pretrained'):
            print(
                'the generator stays in float32: in float16 mmagic scales styles before it maps '
                'them, so that weights of another precision make other images '
                '(model.generator.num_fp16_scales=4 insists)'
            )
        else:
            network.setdefault('num_fp16_scales', FP16_SCALES)
    return list(named)


def check_is_a_run(cfg: Config, file: str) -> None:
    """Make sure that a config describes a training run, not a part of one.

    Args:
        cfg (Config): The config.
        file (str): Its file, for the message.

    Raises:
        ValueError: A field without which nothing trains is missing.
    """
    needed = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
    missing = [name for name in needed if cfg.get(name) is None]
    if missing:
        raise ValueError(
            f'{file} describes no training run: it has no {", ".join(missing)}. Files below '
            'configs/_base_/ are parts to inherit; give one of configs/*.py'
        )


def check_training_set(cfg: Config) -> int:
    """List the training images, so that an empty or missing folder is an error at once.

    Args:
        cfg (Config): The config.

    Returns:
        int: Number of images, at least 2.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: It holds fewer than 2 images.
    """
    from mmagic.registry import DATASETS

    from disp_plugin.priors import view_config

    dataset_cfg = view_config(cfg.train_dataloader.dataset, pipeline=[])
    num = len(DATASETS.build(dataset_cfg))
    if num < 2:
        raise ValueError(
            f'{dataset_cfg.get("data_root")} holds {num} training image{"" if num == 1 else "s"}, '
            'but a GAN needs at least 2, and about 100 before its pictures are of any use'
        )
    return num


def ensure_bank(cfg: Config, build: bool = True) -> str | None:
    """Build the bank of priors that a config names, where its file does not exist yet.

    In a distributed run rank 0 builds; the others wait for the file, or for the end of rank 0.

    Args:
        cfg (Config): The config; ``bank_file`` and ``encoder`` are read.
        build (bool): False to raise in place of building. Defaults to True.

    Returns:
        str | None: The bank's file; None where the config has none (an unconditional GAN).

    Raises:
        FileNotFoundError: The file does not exist and ``build`` is False.
        RuntimeError: Rank 0 ended without building it.
        TimeoutError: Rank 0 has shown no sign of life for ten minutes.
    """
    bank_file = cfg.get('bank_file')
    if not bank_file:
        return None
    if Path(bank_file).is_file():
        return bank_file
    command = f'tools/build_prior_bank.py {cfg.filename or "CONFIG"} (with the same --cfg-options)'
    if not build:
        raise FileNotFoundError(f'the bank {bank_file} does not exist; build it with {command}')
    if read_rank() == 0:
        print(f'the bank {bank_file} does not exist yet: building it, as {command} would')
        with show_work(bank_file):
            _build(cfg, bank_file)
    else:
        wait_for_file(bank_file)
    return bank_file


def _build(cfg: Config, bank_file: str) -> None:
    from disp_plugin.priors.build_bank import build_bank

    build_bank(cfg, cfg.encoder, bank_file)


def summarize(cfg: Config) -> str:
    """Say in a few lines what a resolved config would do.

    Args:
        cfg (Config): The config.

    Returns:
        str: One ``name: value`` a line.
    """
    from disp_plugin.priors import view_config

    model, loader = cfg.model, cfg.train_dataloader
    bank_file = cfg.get('bank_file')
    exists = '' if not bank_file else ' (exists)' if Path(bank_file).is_file() else ' (to be built)'
    lines = {
        'model': f'{model.type}, prior_dim={model.get("prior_dim")}',
        'generator': _typed(model.get('generator')),
        'discriminator': _typed(model.get('discriminator')),
        'encoder': _typed(cfg.get('encoder')),
        'sampler': _typed(model.get('sampler')),
        'data_root': view_config(loader.dataset).get('data_root'),
        'bank_file': f'{bank_file}{exists}',
        'batch_size': loader.batch_size,
        'max_iters': cfg.train_cfg.get('max_iters'),
        'work_dir': cfg.get('work_dir'),
        'device': 'cuda' if torch.cuda.is_available() else 'cpu',
        'launcher': cfg.get('launcher', 'none'),
        'resume': bool(cfg.get('resume')),
    }
    return '\n'.join(f'{name + ":":15}{value}' for name, value in lines.items())


def _typed(part: Any) -> str:
    """Write a dict to build as ``Type(name=value)``, leaving nested dicts out."""
    if not isinstance(part, Mapping):
        return str(part)
    plain = {k: v for k, v in part.items() if k[0] != '_' and not isinstance(v, Mapping)}
    kind = plain.pop('type', 'dict')
    return f'{kind}({", ".join(f"{k}={v!r}" for k, v in plain.items())})'
