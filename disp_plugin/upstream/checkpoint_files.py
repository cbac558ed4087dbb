"""Checkpoints: written whole, read by torch's restricted unpickler, named without wrappers.

**Whole files.**
Symptom: a run that is killed while it saves, or fills the disk, leaves a truncated ``iter_*.pth``,
also where a good one of that name was.
Cause: ``LocalBackend.put`` opens the final file and writes into it
(mmengine/fileio/backends/local_backend.py:77).
Delete when: mmengine writes to a temporary name and renames.

**Restricted unpickler.**
Symptom: ``--resume`` and ``load_from`` die with "Weights only load failed ... Unsupported global:
mmengine.logging.history_buffer.HistoryBuffer" from torch 2.6 on.
Cause: mmengine/runner/checkpoint.py:347 calls ``torch.load`` without ``weights_only``, which is
True by default since torch 2.6; the message hub in a checkpoint holds ``HistoryBuffer`` objects,
these hold NumPy arrays, and their statistics methods are pickled as ``getattr(HistoryBuffer,
'mean')``.
Delete when: mmengine allows its own types, or stores plain numbers.

``weights_only`` stays True. Instead of ``builtins.getattr`` the unpickler gets a function for
nothing but the statistics methods of ``HistoryBuffer``.

**Names of weights.**
Symptom: a checkpoint that several processes wrote cannot be used again. Resuming prints
"The model and loaded state dict do not match exactly" and goes on with random weights of G and D;
a single process does not find the weights either.
Cause: mmengine/model/wrappers/seperate_distributed.py:67 wraps each network by itself and so names
its weights ``generator.module.*``; mmengine/runner/runner.py:2233 saves these names, but
mmengine/runner/checkpoint.py:80 looks for the names without wrappers.
Delete when: mmengine saves ``get_state_dict(model)`` instead of ``model.state_dict()``.

Upstream: https://github.com/open-mmlab/mmengine (0.10.7);
https://pytorch.org/docs/stable/notes/serialization.html.
"""

import importlib
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING

from disp_plugin.files import write_file
from disp_plugin.upstream.patch import Patch, host_module

if TYPE_CHECKING:
    from torch import nn

BACKEND_MODULE = 'mmengine.fileio.backends.local_backend'
WRAPPER_MODULE = 'mmengine.model.wrappers.seperate_distributed'

STATISTICS = ('mean', 'min', 'max', 'current')

_NUMBER_TYPES = '?bhilqBHILQefdFD'


def _write_whole() -> None:
    """Let the local backend write to a temporary name beside the file, then rename."""

    def put(self: object, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file, whole or not at all."""
        write_file(filepath, obj)

    host_module(BACKEND_MODULE).LocalBackend.put = put


def get_statistics_method(owner: object, name: str, *default: object) -> Callable[..., object]:
    """Stand in for ``getattr`` while a checkpoint is unpickled.

    Raises:
        UnpicklingError: Anything but a statistics method of ``HistoryBuffer`` is asked for.
    """
    import pickle

    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in STATISTICS or default:
        raise pickle.UnpicklingError(
            f'the checkpoint asks for getattr({owner!r}, {name!r}), which is not safe: only the '
            f'statistics of HistoryBuffer ({", ".join(STATISTICS)}) are allowed'
        )
    return getattr(HistoryBuffer, name)


def allow_types() -> None:
    """Tell torch's unpickler what mmengine's checkpoints hold.

    NumPy 1 writes ``numpy.core``, NumPy 2 ``numpy._core``, and each must read both.
    """
    import numpy as np
    import torch
    from mmengine.config import ConfigDict
    from mmengine.logging import HistoryBuffer

    try:
        multiarray = importlib.import_module('numpy._core.multiarray')
    except ImportError:
        multiarray = importlib.import_module('numpy.core.multiarray')
    # the class of a dtype has a name of its own for every type of number
    numbers = {type(np.dtype(code)) for code in _NUMBER_TYPES}
    # a ConfigDict is what a nested dict in a data set's metainfo has become
    allowed: list[Callable | tuple[Callable, str]] = [HistoryBuffer, ConfigDict]
    allowed += [np.ndarray, np.dtype, *sorted(numbers, key=repr)]
    allowed.append((get_statistics_method, 'builtins.getattr'))
    for package in ('numpy.core', 'numpy._core'):
        for name in ('_reconstruct', 'scalar'):
            allowed.append((getattr(multiarray, name), f'{package}.multiarray.{name}'))
    torch.serialization.add_safe_globals(allowed)


def _drop_wrappers() -> None:
    """Let a model whose networks are wrapped name its weights as if they were not."""
    wrapper = host_module(WRAPPER_MODULE).MMSeparateDistributedDataParallel
    init: Callable[..., None] = wrapper.__init__

    def __init__(self: 'nn.Module', module: 'nn.Module', *args: object, **kwargs: object) -> None:
        init(self, module, *args, **kwargs)
        module._register_state_dict_hook(_name_without_wrappers)

    wrapper.__init__ = __init__


def _name_without_wrappers(
    model: 'nn.Module', state_dict: MutableMapping[str, object], prefix: str, *_: object
) -> None:
    from torch.nn.parallel import DistributedDataParallel

    wrapped = [
        f'{prefix}{name}.'
        for name, network in model.named_children()
        if isinstance(network, DistributedDataParallel)
    ]
    for names in (state_dict, getattr(state_dict, '_metadata', {})):
        # All entries are put back, so that their order stays.
        for key in list(names):
            value = names.pop(key)
            names[_without_wrapper(key, wrapped)] = value


def _without_wrapper(key: str, wrapped: list[str]) -> str:
    for name in wrapped:
        inner = f'{name}module'
        if key == inner:
            return name[:-1]
        if key.startswith(f'{inner}.'):
            return name + key[len(inner) + 1 :]
    return key


PATCHES = (
    Patch(
        name='whole-files',
        module=BACKEND_MODULE,
        summary='a run that is killed while it saves leaves a truncated checkpoint',
        apply=_write_whole,
    ),
    Patch(
        name='safe-checkpoints',
        module='mmengine.runner.checkpoint',
        summary="--resume dies on torch >= 2.6: 'Weights only load failed'",
        apply=allow_types,
    ),
    Patch(
        name='separate-checkpoints',
        module=WRAPPER_MODULE,
        summary='a checkpoint of distributed GAN training is resumed with random weights',
        apply=_drop_wrappers,
    ),
)
