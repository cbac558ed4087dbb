"""Checkpoints: written whole, read by torch's restricted unpickler, named without wrappers.

Upstream: https://github.com/open-mmlab/mmengine (0.10.7);
https://pytorch.org/docs/stable/notes/serialization.html.
"""

import importlib
from collections.abc import Callable, MutableMapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from disp_plugin.files import write_file
from disp_plugin.upstream.patch import patch

if TYPE_CHECKING:
    from torch import nn

STATISTICS = ('mean', 'min', 'max', 'current')

_NUMBER_TYPES = '?bhilqBHILQefdFD'


@patch('whole-files', 'mmengine.fileio.backends.local_backend')
def write_whole(host: ModuleType) -> None:
    """Let the local backend write to a temporary name beside the file, then rename.

    Symptom: a run that is killed while it saves, or fills the disk, leaves a truncated
    ``iter_*.pth``, also where a good one of that name was.
    Cause: local_backend.py:77 (``LocalBackend.put``) opens the final file and writes into it.
    Delete when: mmengine writes to a temporary name and renames.
    """

    def put(self: object, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file, whole or not at all."""
        write_file(filepath, obj)

    host.LocalBackend.put = put


@patch('safe-checkpoints', 'mmengine.runner.checkpoint')
def allow_types(host: ModuleType) -> None:
    """Tell torch's unpickler what mmengine's checkpoints hold.

    Symptom: ``--resume`` and ``load_from`` die with "Weights only load failed ... Unsupported
    global: mmengine.logging.history_buffer.HistoryBuffer" from torch 2.6 on.
    Cause: mmengine/runner/checkpoint.py:347 calls ``torch.load`` without ``weights_only``, which is
    True by default since torch 2.6; the message hub in a checkpoint holds ``HistoryBuffer``
    objects, these hold NumPy arrays, and their statistics methods are pickled as
    ``getattr(HistoryBuffer, 'mean')``.
    Delete when: mmengine allows its own types, or stores plain numbers; then keep the reader, which
    names files of other kinds.

    ``weights_only`` stays True. Instead of ``builtins.getattr`` the unpickler gets a function for
    nothing but those methods. NumPy 1 writes ``numpy.core``, NumPy 2 ``numpy._core``, and each must
    read both.
    """
    import numpy as np
    import torch
    from mmengine.config import ConfigDict
    from mmengine.logging import HistoryBuffer

    package = 'numpy._core' if np.lib.NumpyVersion(np.__version__) >= '2.0.0' else 'numpy.core'
    multiarray = importlib.import_module(f'{package}.multiarray')
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

    def read(filename: str, map_location: Any) -> dict[str, Any]:
        # imported here, since torch takes its time
        from disp_plugin.weights import read_weights

        return read_weights(filename, map_location or 'cpu').content

    host.CheckpointLoader.register_scheme(prefixes='', loader=read, force=True)


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


@patch('moved-folders', 'mmengine.hooks.checkpoint_hook')
def look_for_best_in_own_folder(host: ModuleType) -> None:
    """Let a resumed run take the best checkpoint of its own work folder for the former best.

    Symptom: a run that is resumed in a moved or copied work folder, or in another one, keeps two
    best checkpoints, or removes that of the folder it came from.
    Cause: checkpoint_hook.py:298 takes the path, which may be absolute, from the message hub.
    Delete when: mmengine stores the name of the file.
    """
    begin: Callable[..., None] = host.CheckpointHook.before_train

    def before_train(self: Any, runner: Any) -> None:
        infos = runner.message_hub.runtime_info
        for name in [
            n for n in infos if n.startswith('best_ckpt') and infos[n] and not self.out_dir
        ]:
            infos[name] = str(Path(runner.work_dir) / Path(infos[name]).name)
        begin(self, runner)

    host.CheckpointHook.before_train = before_train


@patch('matching-weights', 'mmengine.runner.checkpoint')
def refuse_other_weights(host: ModuleType) -> None:
    """Refuse a checkpoint of which no weight has a place in the model.

    Symptom: ``load_from`` and mmengine's test with weights of another network print a list of names
    and go on with random weights.
    Cause: mmengine/runner/checkpoint.py:585 loads with ``strict=False``.
    Delete when: mmengine raises where nothing matches.
    """
    load: Callable[..., None] = host.load_state_dict

    def load_state_dict(module: 'nn.Module', state_dict: dict, *args: object, **kw: object) -> None:
        from disp_plugin.weights import list_some

        inner: Any = module.module if host.is_model_wrapper(module) else module
        wanted = inner.state_dict()
        if wanted and not wanted.keys() & state_dict.keys():
            raise ValueError(
                f'the checkpoint holds no weights of {type(inner).__name__}: it has '
                f'{list_some(state_dict)}, and {list_some(wanted)} are wanted'
            )
        load(module, state_dict, *args, **kw)

    vars(host)['load_state_dict'] = load_state_dict


@patch('separate-checkpoints', 'mmengine.model.wrappers.seperate_distributed')
def drop_wrappers(host: ModuleType) -> None:
    """Let a model whose networks are wrapped name its weights as if they were not.

    Symptom: a checkpoint that several processes wrote cannot be used again. Resuming prints "The
    model and loaded state dict do not match exactly" and goes on with random weights of G and D;
    a single process does not find the weights either.
    Cause: seperate_distributed.py:67 wraps each network by itself and so names its weights
    ``generator.module.*``; mmengine/runner/runner.py:2233 saves these names, but
    mmengine/runner/checkpoint.py:80 looks for the names without wrappers.
    Delete when: mmengine saves ``get_state_dict(model)`` instead of ``model.state_dict()``.
    """
    wrapper = host.MMSeparateDistributedDataParallel
    init: Callable[..., None] = wrapper.__init__

    def __init__(self: 'nn.Module', module: 'nn.Module', *args: object, **kwargs: object) -> None:
        init(self, module, *args, **kwargs)
        for network in module.children():
            if isinstance(network, host.MMDistributedDataParallel):
                network._register_state_dict_hook(_name_without_wrapper)

    wrapper.__init__ = __init__


def _name_without_wrapper(
    network: 'nn.Module', state_dict: MutableMapping[str, object], prefix: str, *_: object
) -> None:
    if not prefix:  # the network's own state is asked for, not that of a model
        return
    # these entries are the last ones, so that putting them back keeps the order
    for entries in (state_dict, getattr(state_dict, '_metadata', {})):
        for key in list(entries):
            if f'{key}.'.startswith(f'{prefix}module.'):
                rest = key.removeprefix(f'{prefix}module').removeprefix('.')
                entries[f'{prefix}{rest}'.removesuffix('.')] = entries.pop(key)
