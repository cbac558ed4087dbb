"""Check and settle what a run needs before it starts: folder, sizes, images, bank, space."""

import copy
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from torch import nn

from disp_plugin.cli.check_config import RUN
from disp_plugin.cli.config import build_training_set
from disp_plugin.cli.errors import building
from disp_plugin.cli.options import accepted_fields, find_class
from disp_plugin.datasets import ImageViews, tell_odd_images
from disp_plugin.datasets.image_views import unwrap_dataset
from disp_plugin.distributed import read_launch, show_work, wait_for_file
from disp_plugin.files import describe_bytes, get_free_bytes
from disp_plugin.hooks import FiniteHook
from disp_plugin.models.checkpoint_file import SUFFIXES, find_zoo_url, read_checkpoint
from disp_plugin.models.image_size import STYLEGAN2_SCALES, check_made_sizes, check_scale
from disp_plugin.precision import choose_precision
from disp_plugin.samplers import PerImageSampler
from disp_plugin.settings import (
    find_bank_file,
    find_dataset,
    find_places,
    get_value,
)
from disp_plugin.weights import NonFiniteError, find_non_finite, read_weights

__all__ = [
    'add_finite_hook',
    'check_is_a_run',
    'check_parts',
    'check_sizes',
    'check_space',
    'check_training_set',
    'check_weights',
    'choose_work_dir',
    'ensure_bank',
    'prepare_work_dir',
    'set_precision',
    'summarize',
]

LEAST_FREE_BYTES = 512 * 2**20
"""Free space that a work folder must have: less does not hold a few checkpoints of small models."""


def choose_work_dir(cfg: Config, work_dir: str | None, config_file: str) -> str:
    """Set the work folder: the argument, else the config's, else one named after the config."""
    cfg.work_dir = work_dir or cfg.get('work_dir') or f'work_dirs/{Path(config_file).stem}'
    return cfg.work_dir


def prepare_work_dir(cfg: Config, work_dir: str | None, config_file: str) -> str:
    """Set the work folder, make it and try to write to it.

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


def set_precision(cfg: Config, precision: str) -> None:
    """Give every optimizer of a config a wrapper that trains in a precision.

    mmagic's own ``--amp`` does nothing for a GAN: it looks for a ``type`` in the wrappers of
    generator and discriminator, which have none, because theirs is the default.

    Args:
        cfg (Config): Its ``optim_wrapper`` is changed.
        precision (str): As in :func:`~disp_plugin.precision.choose_precision`.

    Raises:
        ValueError: A wrapper is neither mmengine's nor ours.
    """
    wrappers = cfg.optim_wrapper
    is_single = 'optimizer' in wrappers
    named = {'optim_wrapper': wrappers} if is_single else wrappers
    for name, wrapper in named.items():
        if not isinstance(wrapper, dict):
            continue
        kind = wrapper.get('type', 'OptimWrapper')
        if kind not in ('OptimWrapper', 'AmpOptimWrapper', 'PrecisionOptimWrapper'):
            raise ValueError(
                f'--precision makes a PrecisionOptimWrapper of an OptimWrapper, but the config '
                f'gives {name} the type {kind!r}; leave --precision out'
            )
        for field in ('dtype', 'use_fsdp'):
            wrapper.pop(field, None)
        wrapper.update(type='PrecisionOptimWrapper', precision=precision)


def check_is_a_run(cfg: Config, file: str) -> None:
    """Raise ValueError if a config describes no training run, but a part of one."""
    missing = [name for name in RUN if cfg.get(name) is None]
    if missing:
        raise ValueError(
            f'{file} describes no training run: it has no {", ".join(missing)}. Files below '
            'configs/_base_/ are parts to inherit; give one of configs/*.py'
        )


def check_parts(cfg: Config) -> None:
    """Build networks, optimizers, schedules and hooks, as the run will, before any other work.

    Sizes of images that the run states are compared with what the networks really make.

    Raises:
        ValueError: One cannot be built, the generator makes, or the discriminator takes, images
            of another size, or a hook is missing; the message names the part.
    """
    from mmagic.registry import MODELS
    from mmengine.optim import build_optim_wrapper

    with building('model'):
        check_made_sizes(cfg.model, get_value(cfg, f'{find_dataset(cfg)}.image_size'))
        model = MODELS.build(copy.deepcopy(cfg.model))
    with building('optim_wrapper'):
        wrapper = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
    with building('param_scheduler'):
        _build_schedules(cfg.get('param_scheduler'), wrapper)
    sampler = getattr(model, 'prior_dim', 0) and getattr(model, 'sampler', None)
    _build_hooks(cfg, getattr(sampler, 'hook', 'PriorSamplerHook') if sampler else None)


def _build_schedules(schedules: Any, wrapper: Any) -> None:
    from mmagic.registry import PARAM_SCHEDULERS

    optimizers = dict(wrapper) if isinstance(wrapper, OptimWrapperDict) else {'': wrapper}
    if isinstance(schedules, Mapping) and 'type' not in schedules:
        if schedules.keys() != optimizers.keys():
            raise ValueError(
                f'param_scheduler is for {", ".join(schedules)}, but the optimizers are '
                f'{", ".join(optimizers)}; name each of them (None where a rate stays)'
            )
    else:
        schedules = dict.fromkeys(optimizers, schedules)
    for name, chosen in schedules.items():
        for part in chosen if isinstance(chosen, (list, tuple)) else [chosen]:
            if isinstance(part, Mapping) and not part.get('convert_to_iter_based'):
                default = dict(optimizer=optimizers[name])
                PARAM_SCHEDULERS.build(copy.deepcopy(part), default_args=default)


def _build_hooks(cfg: Config, needed: str | None) -> None:
    """Build the hooks that are ours or the hosts'; of others nobody knows what that would do."""
    from mmagic.engine.hooks import VisualizationHook
    from mmagic.registry import HOOKS

    custom = cfg.get('custom_hooks') or []
    hooks = {f'default_hooks.{k}': hook for k, hook in (cfg.get('default_hooks') or {}).items()}
    hooks |= {f'custom_hooks.{row}': hook for row, hook in enumerate(custom)}
    classes = {path: find_class(hook['type']) for path, hook in hooks.items() if hook}
    for path, cls in classes.items():
        if cls is None or cls.__module__.split('.')[0] not in ('mmengine', 'mmagic', 'disp_plugin'):
            continue
        if issubclass(
            cls, VisualizationHook
        ):  # it looks for the visualizer, which is not there yet
            _check_grids(hooks[path].get('vis_kwargs_list'), path)
            continue
        with building(path):
            HOOKS.build({k: v for k, v in hooks[path].items() if k != 'priority'})
    kinds = [cls for cls in classes.values() if cls is not None]
    if needed and not any(issubclass(cls, HOOKS.get(needed)) for cls in kinds):
        raise ValueError(
            f"custom_hooks lack dict(type='{needed}'), which fits what the model draws "
            'priors from; a list replaces that of an inherited config, so name that hook, too, as '
            'configs/_base_/disp_runtime.py does'
        )


def _check_grids(grids: Any, path: str) -> None:
    """Raise if a sample grid is of no kind that mmagic, or we, can draw."""
    from mmagic.engine.hooks import VisualizationHook
    from mmagic.utils import sampler

    aliases = {alias.upper() for alias in VisualizationHook.VIS_KWARGS_MAPPING}
    for grid in grids if isinstance(grids, (list, tuple)) else [grids] if grids else []:
        kind = grid.get('type') if isinstance(grid, Mapping) else grid
        if str(kind).upper() not in aliases and not hasattr(sampler, f'{kind}Sampler'):
            known = sorted(
                name[:-7] for name in vars(sampler) if name[:-7] and name[-7:] == 'Sampler'
            )
            raise ValueError(
                f'{path}.vis_kwargs_list.type is {kind!r}; it must be one of {", ".join(known)}'
            )


def check_sizes(cfg: Config) -> None:
    """Check that model and data set agree on the image size, and the sizes of a StyleGAN2.

    Its discriminator compares the images of a batch in groups (4 unless ``mbstd_cfg`` says
    otherwise), which a larger batch must consist of.

    Raises:
        ValueError: The sizes differ, or one is none that StyleGAN2 can have.
    """
    batch, model_size = cfg['train_dataloader']['batch_size'], cfg['model'].get('image_size')
    data_size = get_value(cfg, f'{find_dataset(cfg)}.image_size')
    if None not in (model_size, data_size) and model_size != data_size:
        raise ValueError(
            f'model.image_size is {model_size} but the training set gives images of {data_size} '
            f'px; --cfg-options image_size={data_size} sets both'
        )
    for network in find_stylegan2_networks(cfg['model']):
        size = model_size or network.get('out_size') or network.get('in_size')
        check_scale(size, STYLEGAN2_SCALES, 'StyleGAN2')
        group = (network.get('mbstd_cfg') or {}).get('group_size', 4)
        is_generator = network is cfg['model'].get('generator')
        if not is_generator and batch > group and batch % group:
            raise ValueError(
                f"batch_size is {batch}, but StyleGAN2's discriminator compares images in groups "
                f'of {group}: set batch_size to {batch // group * group} or '
                f'{(batch // group + 1) * group}, or to less than {group}'
            )


def find_stylegan2_networks(model: Mapping[str, object]) -> list[Any]:
    """Find the configs of networks that are mmagic's StyleGAN2 or made of it.

    Their mark is the argument ``num_fp16_scales``.
    """
    networks = [model.get('generator'), model.get('discriminator')]
    networks += [n.get('discriminator') for n in networks if isinstance(n, Mapping)]
    built = [n for n in networks if isinstance(n, Mapping) and find_class(n.get('type'))]
    return [n for n in built if 'num_fp16_scales' in (accepted_fields(find_class(n['type'])) or ())]


def check_weights(cfg: Config) -> None:
    """Read the weights that a run starts from or sees by, before any other work is done.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no file of weights, is damaged, or has values that are not finite.
    """
    pretrained = cfg.model.get('pretrained')
    name = str(pretrained.get('checkpoint', '')) if isinstance(pretrained, Mapping) else ''
    if name and '://' not in name:
        if '/' in name or Path(name).suffix in SUFFIXES or Path(name).exists():
            _check_finite(name, read_checkpoint(name).state)
        else:
            find_zoo_url(name)
    frozen = (cfg.model.get('discriminator') or {}).get('weights')
    if frozen:
        MODELS.build(frozen)
    load_from = cfg.get('load_from')
    if load_from and not cfg.get('resume') and '://' not in load_from:
        _check_finite(load_from, read_weights(load_from).content)


def _check_finite(file: str, state: object) -> None:
    if (fault := find_non_finite(state)) is not None:
        raise NonFiniteError(f'{file} cannot be used: {fault}; start from another checkpoint')


def check_training_set(cfg: Config) -> int:
    """List the training images, so that an empty or missing folder is an error at once.

    Copies, images that are much enlarged and 16-bit images that are almost black are told.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: It holds fewer than 2 images, or the per-image baseline expects others.
    """
    dataset = build_training_set(cfg)
    num, data_root = len(dataset), get_value(cfg, find_places(cfg, 'data_root')[0])
    if num < 2:
        raise ValueError(
            f'{data_root} holds {num} training image{"" if num == 1 else "s"}, '
            'but a GAN needs at least 2, and about 100 before its pictures are of any use'
        )
    sampler = find_class((cfg.model.get('sampler') or {}).get('type')) or object
    if issubclass(sampler, PerImageSampler) and cfg.model.get('prior_dim') != num:
        raise ValueError(
            f'the per-image baseline needs model.prior_dim={num}, the number of training images in '
            f'{data_root}, but it is {cfg.model.get("prior_dim")}'
        )
    if cfg.train_dataloader.get('sampler'):  # nothing is read yet
        with building('train_dataloader'):
            loader = {**copy.deepcopy(cfg.train_dataloader.to_dict()), 'dataset': dataset}
            Runner.build_dataloader(loader, seed=0)
    if (view := _measure_view(dataset)) is not None:
        check_made_sizes(cfg.model, view)
    if read_launch().rank == 0:
        tell_odd_images(dataset)
    return num


def _measure_view(dataset: Any) -> tuple[int, int] | None:
    """Measure an image of a data set that states no size, behind the steps of its pipeline."""
    dataset = unwrap_dataset(dataset)
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    if getattr(dataset, 'image_size', None) is not None or not steps:
        return None
    results = dataset.get_data_info(0)
    for step in steps:
        if type(step).__name__ in ('LoadPrior', 'PackInputs'):
            break  # the bank need not exist yet
        results = step(results)
    shape = getattr(results.get('img', results.get('gt')), 'shape', ())
    return (shape[0], shape[1]) if len(shape) > 1 else None


def ensure_bank(cfg: Config, build: bool = True) -> Path | None:
    """Build the bank of priors that a config names, where its file does not exist yet.

    In a distributed run rank 0 builds; the others wait for the file, or for the end of rank 0.

    Args:
        cfg (Config): The config.
        build (bool): False to raise in place of building. Defaults to True.

    Returns:
        Path | None: The bank's file; None where the config has none (an unconditional GAN).

    Raises:
        FileNotFoundError: The file does not exist and ``build`` is False.
        ValueError: The config has no encoder to build it with.
        RuntimeError: Rank 0 ended without building it.
        TimeoutError: Rank 0 has shown no sign of life for ten minutes.
    """
    bank_file = find_bank_file(cfg)
    if bank_file is None or bank_file.is_file():
        return bank_file
    command = f'tools/build_prior_bank.py {cfg.filename or "CONFIG"} (with the same options)'
    if not build:
        raise FileNotFoundError(f'the bank {bank_file} does not exist; build it with {command}')
    if not cfg.get('encoder'):
        raise ValueError(
            f'the bank {bank_file} does not exist, and the config has no encoder to build it with; '
            'set encoder, or bank_file to a bank that exists'
        )
    if read_launch().rank == 0:
        print(f'the bank {bank_file} does not exist yet: building it, as {command} would')
        with show_work(bank_file):
            _build(cfg, bank_file)
    else:
        wait_for_file(bank_file)
    return bank_file


def _build(cfg: Config, bank_file: Path) -> None:
    from disp_plugin.priors import BankBuild

    dataset = build_training_set(cfg)
    if not isinstance(dataset, ImageViews):
        raise ValueError(
            f'the bank {bank_file} does not exist, and {type(dataset).__name__} does not say how '
            'its images are seen; build the bank with tools/build_prior_bank.py --images FOLDER '
            f'--image-size SIZE --bank-file {bank_file} (and --flip where training flips)'
        )
    build = BankBuild(dataset, cfg.encoder, bank_file)
    wanted, given = cfg.model.get('prior_dim'), build.encoder.prior_dim
    if wanted and wanted != given and not cfg.model.get('per_image'):
        raise ValueError(
            f'prior_dim is {wanted} but the encoder gives {given}-d priors; '
            f'--cfg-options prior_dim={given} sets it'
        )
    build.run()


def add_finite_hook(runner: Runner) -> None:
    """Add the check of finite losses and weights to a run whose config lacks it."""
    if not any(isinstance(hook, FiniteHook) for hook in runner.hooks):
        runner.register_hook(FiniteHook())


def check_space(runner: Runner) -> None:
    """Check that the work folder can take a checkpoint before an older one is removed.

    Raises:
        ValueError: There is no room for two checkpoints. For two, but not for all that the run
            keeps, a warning is logged.
    """
    saving = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
    if saving is None or saving.interval <= 0:
        return
    folder = runner.work_dir
    each = estimate_checkpoint_bytes(runner.model)
    free = get_free_bytes(folder)
    text = (
        f'a checkpoint of this run takes about {describe_bytes(each)}, and {{}}, but the work '
        f'folder {folder} has {describe_bytes(free)} of free space; free some, or choose another '
        'by --work-dir'
    )
    if free < 2 * each:
        raise ValueError(text.format('a new one is written before an old one is removed'))
    planned = math.ceil(runner.max_iters / saving.interval)
    kept = planned if saving.max_keep_ckpts < 0 else min(planned, saving.max_keep_ckpts)
    if free < (kept + 1) * each:
        print_log(text.format(f'{kept} are kept'), logger='current', level=30)


def estimate_checkpoint_bytes(model: nn.Module) -> int:
    """Estimate the size of a checkpoint: the model, and two moments of Adam for what is trained."""
    state = sum(v.numel() * v.element_size() for v in model.state_dict().values())
    trained = (p for p in model.parameters() if p.requires_grad)
    return state + sum(2 * p.numel() * p.element_size() for p in trained)


def summarize(cfg: Config) -> str:
    """Describe what a run would do, one ``name: value`` a line."""
    model, bank_file = cfg.model, find_bank_file(cfg)
    exists = '' if bank_file is None else ' (exists)' if bank_file.is_file() else ' (to be built)'
    lines = {
        'model': f'{model.type}, prior_dim={model.get("prior_dim")}',
        'generator': _typed(model.get('generator')),
        'discriminator': _typed(model.get('discriminator')),
        'encoder': _typed(cfg.get('encoder')),
        'sampler': _typed(model.get('sampler')),
        'data_root': get_value(cfg, find_places(cfg, 'data_root')[0]),
        'image_size': model.get('image_size'),
        'bank_file': f'{bank_file}{exists}',
        'batch_size': cfg.train_dataloader.batch_size,
        'max_iters': cfg.train_cfg.get('max_iters'),
        'work_dir': cfg.get('work_dir'),
        'device': 'cuda' if torch.cuda.is_available() else 'cpu',
        'precision': _describe_precision(cfg.optim_wrapper),
        'launcher': cfg.get('launcher', 'none'),
        'resume': bool(cfg.get('resume')),
    }
    return '\n'.join(f'{name + ":":15}{value}' for name, value in lines.items())


def _describe_precision(wrappers: Mapping[str, Any]) -> str:
    wrapper = wrappers.get('generator', wrappers)
    kind = wrapper.get('type', 'OptimWrapper')
    if kind != 'PrecisionOptimWrapper':
        return 'float32' if kind == 'OptimWrapper' else kind
    return choose_precision(wrapper.get('precision', 'auto'), get_device())[1]


def _typed(part: object) -> str:
    """Write a dict to build as ``Type(name=value)``, leaving nested dicts out."""
    if not isinstance(part, Mapping):
        return str(part)
    plain = {k: v for k, v in part.items() if k[0] != '_' and not isinstance(v, Mapping)}
    kind = plain.pop('type', 'dict')
    return f'{kind}({", ".join(f"{k}={v!r}" for k, v in plain.items())})'
