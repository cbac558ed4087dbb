"""Check a whole config before any work: classes, fields, types and ranges of what they are told."""

import math
import types
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from disp_plugin.cli.errors import LARGEST_SEED
from disp_plugin.cli.options import (
    accepted_fields,
    find_class,
    find_owners,
    nearest,
    registered_names,
    stated_types,
)

__all__ = ['RUN', 'check_config', 'check_kinds']

PARTS = (
    *('encoder', 'model', 'optim_wrapper', 'param_scheduler', 'visualizer', 'log_processor'),
    *('train_dataloader', 'val_dataloader', 'test_dataloader', 'val_evaluator', 'test_evaluator'),
    *('train_cfg', 'val_cfg', 'test_cfg', 'default_hooks', 'custom_hooks'),
    *('env_cfg', 'randomness'),
)
"""Top-level fields that are built; what else stands there may be a part that was merged."""

RUN = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
"""Fields without which nothing trains."""

LISTS = ('custom_hooks', 'param_scheduler', 'val_evaluator', 'test_evaluator')
"""Those that may be lists of dicts."""

UNBUILT = ('init_cfg', 'vis_kwargs_list')
"""Ends of the paths of dicts whose ``type`` names something else than a class."""

ADAPTED = (*UNBUILT, '_cfg', '_config')
"""Ends of the paths of dicts of which not all goes to the class as it stands."""

TOP = ('log_level', 'sync_bn', 'resume')
"""Top-level fields that are no dicts."""

NAMES: dict[str, tuple[str, ...]] = {
    'env_cfg': ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    'env_cfg.mp_cfg': ('mp_start_method', 'opencv_num_threads'),
    'randomness': ('seed', 'deterministic', 'diff_rank_seed'),
    'clip_grad': (
        *('type', 'max_norm', 'norm_type', 'error_if_nonfinite', 'foreach', 'clip_value'),
    ),
}
"""End of a dict's path -> what is read of it, where no class says so."""

ENDLESS = ('ResumableSampler', 'InfiniteSampler')
"""Samplers that never end an epoch."""

CHOICES: dict[str, tuple[str, ...]] = {
    'sn_style': ('torch', 'ajbrock'),
    'norm_mode': ('pixel', 'HWC'),
    'default_style_mode': ('mix', 'single'),
    'eval_style_mode': ('mix', 'single'),
    'conv_cfg.padding_mode': ('zeros', 'circular', 'zero', 'reflect', 'replicate'),
    'sample_model': ('ema', 'orig', 'ema/orig'),
    'log_level': ('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL'),
    'sync_bn': ('torch', 'mmcv'),
    'mp_start_method': ('fork', 'spawn', 'forkserver'),
    'rule': ('less', 'greater'),
}
"""End of a field's path -> its words, of which mmagic takes any other for one of them, or fails
once the run has begun."""

INITS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ('BigGANGenerator', 'BigGANDiscriminator'), ('ortho', 'N02', 'xavier', 'Pretrained')
    ),
    **dict.fromkeys(
        ('SNGANGenerator', 'ProjDiscriminator'),
        ('BigGAN', 'Studio', 'SAGAN', 'SNGAN', 'SNGAN-Proj', 'GAN-Proj'),
    ),
}
"""mmagic's network -> types of its ``init_cfg``; those of SNGAN in any case of letters."""

LEAST: dict[str, float] = {
    **dict.fromkeys(('batch_size', 'max_iters', 'image_size', 'interval', 'val_interval'), 1),
    **dict.fromkeys(('n_samples', 'n_row', 'noise_size', 'base_channels', 'prior_emb_dim'), 1),
    **dict.fromkeys(('generator_steps', 'discriminator_steps', 'shared_dim', 'in_size'), 1),
    **dict.fromkeys(('style_channels', 'num_mlps', 'patience', 'accumulative_counts'), 1),
    **dict.fromkeys(('num_workers', 'prior_dim', 'lr', 'weight_decay', 'val_begin'), 0),
    **dict.fromkeys(('start_iter', 'mining_iters', 'eps', 'mix_prob', 'lr_mlp', 'seed'), 0),
    **dict.fromkeys(('group_size', 'channel_groups', 'prefetch_factor'), 1),
    **dict.fromkeys(('prior_length', 'per_image_scale', 'alpha', 'loss_weight'), 0),
    'fake_nums': 2,
    'max_keep_ckpts': -1,
}
"""Least values of numbers, wherever a config has them by these names."""

MOST = {'mix_prob': 1, 'seed': LARGEST_SEED}
"""Likewise, largest values."""

NUMBERS = ('batch_size', 'max_iters', 'lr', 'num_workers')
"""Numbers of which None is no default."""

WORDS = {
    int: 'a whole number',
    float: 'a number',
    bool: 'True or False',
    str: 'text',
    Path: 'a path',
    types.NoneType: '',
}

MISTYPED = ('loss_scale',)
"""Arguments that take more than their class states."""

MODULES = {
    'wandb': ('wandb',),
    'tensorboard': ('tensorboard', 'tensorboardX'),
    'mlflow': ('mlflow',),
    'clearml': ('clearml',),
    'neptune': ('neptune',),
    'dvclive': ('dvclive',),
    'aim': ('aim',),
    'pavi': ('pavi',),
}
"""Beginning of a logger's name -> the modules that it needs one of."""


def check_config(cfg: Config, file: str = '') -> None:
    """Raise if a class, a field or a value of a config is one that a run cannot have.

    Args:
        cfg (Config): The config, with all options merged.
        file (str): Its name for messages. Defaults to ''.

    Raises:
        ValueError: A class or an argument of it does not exist, a value is of another type than the
            class states or out of range, or a logger is not installed. The message names the
            field, the value and what is possible.
    """
    name = Path(file or cfg.filename or 'the config').name
    check_kinds(cfg, name)
    is_run = all(cfg.get(part) is not None for part in RUN)
    for field in TOP:
        _check_choice(field, cfg.get(field), name)
        _check_type(field, cfg.get(field), stated_types(Runner, field), name)
    _check_hooks(cfg, name)
    _check_epochs(cfg, name)
    for path, node in _walk(cfg._cfg_dict):
        _check_class(node, path, name)
        owners = find_owners(node, path)
        if owners:
            _check_names(node, path, owners, name)
        _check_init(node, path, name)
        _check_known(node, path, name)
        for field, value in node.items():
            where = f'{path}.{field}' if path else str(field)
            if value is None and not is_run:  # a part may leave numbers to the files that inherit
                continue
            _check_choice(where, value, name)
            stated = [stated_types(owner, field) for owner in owners or ()]
            if field not in MISTYPED:
                _check_type(where, value, set().union(*stated), name)
            _check_range(where, value, node.get('type'), name)


def check_kinds(cfg: Config, file: str) -> None:
    """Raise ValueError if a part of a config is neither a dict nor, where it may be, a list."""
    for part in PARTS:
        value = cfg.get(part)
        kinds = (Mapping, list, tuple) if part in LISTS else (Mapping,)
        if value is not None and not isinstance(value, kinds):
            raise ValueError(
                f'{part} of {file} must be a dict{" or a list" if part in LISTS else ""}, but is '
                f'{value!r}'
            )


def _walk(cfg: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every dict of what a run builds with its dotted path, outer ones first."""
    stack = [(part, cfg[part]) for part in PARTS if part in cfg]
    while stack:
        path, node = stack.pop(0)
        if isinstance(node, Mapping):
            yield path, node
            stack += [(f'{path}.{name}', value) for name, value in node.items()]
        elif isinstance(node, (list, tuple)):
            stack += [(f'{path}.{index}', value) for index, value in enumerate(node)]


def _check_class(node: Mapping[str, Any], path: str, file: str) -> None:
    kind = node.get('type')
    if not isinstance(kind, str) or path.endswith(UNBUILT):
        return
    cls = find_class(kind)
    if cls is None:
        best = nearest(kind.rsplit('.', 1)[-1], registered_names())
        hint = f'did you mean {best!r}?' if best else 'register it, or name another'
        raise ValueError(f'{path}.type of {file} is {kind!r}, which no registry knows; {hint}')
    if not cls.__name__.endswith('VisBackend'):
        return
    modules = next((m for n, m in MODULES.items() if cls.__name__.lower().startswith(n)), ())
    if modules and not any(find_spec(module) for module in modules):
        raise ValueError(
            f'{path}.type of {file} is {kind!r}, which needs the package {modules[0]}: '
            f'pip install {modules[0]}, or take LocalVisBackend'
        )


def _check_names(node: Mapping[str, Any], path: str, owners: list[Any], file: str) -> None:
    if find_class(node.get('type')) not in owners or ('.' in path and path.endswith(ADAPTED)):
        return  # what mmengine itself takes out of a loader or wrapper is checked by its classes
    known = accepted_fields(owners[0])
    stated = known or accepted_fields(owners[0], is_open=True) or set()
    # what mmengine takes before it builds the class
    taken = {'optim_wrapper': ('constructor', 'paramwise_cfg'), 'custom_hooks': ('priority',)}
    taken['default_hooks'] = taken['custom_hooks']
    free = {'type', '_scope_', '_delete_', *taken.get(path.split('.')[0], ())}
    for field in set(node) - stated - free:
        best = nearest(field, stated, cutoff=0.6 if known else 0.75)
        if known is None and best is None:
            continue  # the class takes any argument
        hint = f'did you mean {best}?' if best else f'it takes {", ".join(sorted(stated))}'
        raise ValueError(
            f'{path}.{field} of {file} is {node[field]!r}, but {owners[0].__name__} has no such '
            f'argument; {hint}'
        )


def _check_init(node: Mapping[str, Any], path: str, file: str) -> None:
    """Raise if a network is initialized in a way that its class does not know."""
    init, cls = node.get('init_cfg'), find_class(node.get('type'))
    names = {c.__name__ for c in cls.__mro__} if cls else set()
    known = next((words for name, words in INITS.items() if name in names), ())
    kind = init.get('type') if isinstance(init, Mapping) else None
    if init is not None and known and str(kind).lower() not in map(str.lower, known):
        raise ValueError(
            f'{path}.init_cfg.type of {file} must be one of {", ".join(known)}, but is {kind!r}'
        )


def _check_known(node: Mapping[str, Any], path: str, file: str) -> None:
    known = next((names for end, names in NAMES.items() if f'.{path}'.endswith(f'.{end}')), None)
    for field in node if known else ():
        if field not in (*known, '_delete_'):  # type: ignore[misc]
            best = nearest(field, known)  # type: ignore[arg-type]
            hint = f'did you mean {best}?' if best else f'known are {", ".join(known or ())}'
            raise ValueError(f'{path}.{field} of {file} is read by nothing; {hint}')


def _check_hooks(cfg: Config, file: str) -> None:
    """Raise if a hook is no dict with a type, or one is left out that mmagic cannot do without."""
    default, custom = cfg.get('default_hooks') or {}, cfg.get('custom_hooks') or []
    custom = [custom] if isinstance(custom, Mapping) else custom
    hooks = {f'default_hooks.{name}': hook for name, hook in default.items()}
    hooks |= {f'custom_hooks.{row}': hook or {} for row, hook in enumerate(custom)}
    for path, hook in hooks.items():
        if hook is None and not path.endswith('.runtime_info'):
            continue
        if not isinstance(hook, Mapping) or 'type' not in hook:
            raise ValueError(f'{path} of {file} must be a dict with a type, but is {hook!r}')


def _check_epochs(cfg: Config, file: str) -> None:
    """Raise if epochs are counted of a sampler that never ends one."""
    loop = cfg.get('train_cfg') or {}
    sampler = ((cfg.get('train_dataloader') or {}).get('sampler') or {}).get('type')
    dynamic = loop.get('dynamic_intervals') or []
    if not isinstance(dynamic, (list, tuple)) or not all(
        isinstance(pair, tuple) and len(pair) == 2 for pair in dynamic
    ):
        raise ValueError(
            f'train_cfg.dynamic_intervals of {file} must be a list of (iteration, interval), but '
            f'is {dynamic!r}'
        )
    by_epoch = loop.get('by_epoch') or str(loop.get('type', '')).startswith('EpochBased')
    if by_epoch and sampler in ENDLESS:
        raise ValueError(
            f'train_cfg of {file} counts epochs, but {sampler} (train_dataloader.sampler) never '
            "ends one; give train_cfg=dict(type='IterBasedTrainLoop', max_iters=...)"
        )


def _check_choice(where: str, value: object, file: str) -> None:
    words = next((w for end, w in CHOICES.items() if f'.{where}'.endswith(f'.{end}')), ())
    values = value if isinstance(value, (list, tuple)) else [value]
    if words and value is not None and not set(values) <= set(words):
        raise ValueError(
            f'{where} of {file} must be one of {", ".join(words)}, but is {value!r}; '
            f'{_way_out(where)}'
        )
    if where.endswith('.blur_kernel') and value is not None and not _is_kernel(value):
        raise ValueError(
            f'{where} of {file} must be a list of numbers such as [1, 3, 3, 1], but is {value!r}; '
            f'{_way_out(where)}'
        )


def _is_kernel(value: object) -> bool:
    if not isinstance(value, (list, tuple)):
        return False
    return all(isinstance(v, (int, float)) for v in value) and sum(value) not in (0, math.nan)


def _check_type(where: str, value: object, stated: set[object], file: str) -> None:
    """Raise if a value is none of the types stated, where these are all plain ones."""
    if value is None or not stated or not stated <= set(WORDS) or _is_one_of(value, stated):
        return
    names = dict.fromkeys(words for kind, words in WORDS.items() if words and kind in stated)
    raise ValueError(
        f'{where} of {file} must be {" or ".join(names)}, but is {value!r}; {_way_out(where)}'
    )


def _is_one_of(value: object, stated: set[object]) -> bool:
    match value:
        case bool():
            return bool in stated
        case int():
            return bool({int, float} & stated) or (bool in stated and value in (0, 1))
        case str() | Path():
            return bool({str, Path} & stated)
        case _:
            return type(value) in stated


def _check_range(where: str, value: object, kind: object, file: str) -> None:
    """Raise if a number is not finite, or below the least value that its field may have."""
    field = where.rpartition('.')[2]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        kinds = (str, bool, list, tuple)
        is_wrong = field in NUMBERS if value is None else isinstance(value, kinds)
        if field in LEAST and is_wrong:
            raise ValueError(
                f'{where} of {file} must be a number, but is {value!r}; {_way_out(where)}'
            )
        return
    if kind == 'CheckpointHook' and value == -1:
        return  # no checkpoint but the last
    least, most = LEAST.get(field), MOST.get(field)
    is_wrong = math.isnan(value) if least is None else not least <= value < math.inf
    if is_wrong or (most is not None and value > most):
        rule = 'a number' if least is None else f'a number from {least:g}'
        rule += '' if most is None else f' to {most:g}'
        raise ValueError(f'{where} of {file} must be {rule}, but is {value!r}; {_way_out(where)}')


def _way_out(where: str) -> str:
    return f'set it in the config, or by --cfg-options {where}=...'
