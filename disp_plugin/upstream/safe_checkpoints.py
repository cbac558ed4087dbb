"""Loading of mmengine's checkpoints by torch's restricted unpickler.

Symptom: ``--resume`` and ``load_from`` die with "Weights only load failed ... Unsupported global:
mmengine.logging.history_buffer.HistoryBuffer" from torch 2.6 on.
Cause: mmengine/runner/checkpoint.py:347 calls ``torch.load`` without ``weights_only``, which is
True by default since torch 2.6; the message hub in a checkpoint holds ``HistoryBuffer`` objects,
these hold NumPy arrays, and their statistics methods are pickled as ``getattr(HistoryBuffer,
'mean')``.
Upstream: https://pytorch.org/docs/stable/notes/serialization.html; mmengine 0.10.7.
Delete when: mmengine allows its own types, or stores plain numbers.

``weights_only`` stays True. ``builtins.getattr`` itself is not allowed: in its name stands a
function that gives out the statistics methods of ``HistoryBuffer`` and nothing else.
"""

import importlib
from typing import Any

from disp_plugin.upstream.repair import Repair

STATISTICS = ('mean', 'min', 'max', 'current')

_NUMBER_TYPES = '?bhilqBHILQefdFD'


def get_statistics_method(owner: Any, name: Any, *default: Any) -> Any:
    """Stand in for ``getattr`` while a checkpoint is unpickled.

    Args:
        owner (Any): Must be the class ``HistoryBuffer``.
        name (Any): Must be the name of one of its statistics methods.
        *default (Any): Not allowed.

    Returns:
        Callable: The method.

    Raises:
        UnpicklingError: Anything else is asked for.
    """
    import pickle

    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in STATISTICS or default:
        raise pickle.UnpicklingError(
            f'the checkpoint asks for getattr({owner!r}, {name!r}), which is not safe: only the '
            f'statistics of HistoryBuffer ({", ".join(STATISTICS)}) are given out'
        )
    return getattr(HistoryBuffer, name)


def safe_globals() -> list[Any]:
    """List what the unpickler must know to read mmengine's checkpoints.

    Returns:
        list: Objects, and (object, name) pairs where the name in the file is another one: NumPy 1
        writes ``numpy.core``, NumPy 2 ``numpy._core``, and each must read both.
    """
    import numpy as np
    from mmengine.config import ConfigDict
    from mmengine.logging import HistoryBuffer

    multiarray: Any
    try:
        multiarray = importlib.import_module('numpy._core.multiarray')
    except ImportError:
        multiarray = importlib.import_module('numpy.core.multiarray')
    # the class of a dtype has a name of its own for every type of number
    numbers = {type(np.dtype(code)) for code in _NUMBER_TYPES}
    pairs: list[Any] = [(get_statistics_method, 'builtins.getattr')]
    for package in ('numpy.core', 'numpy._core'):
        for name in ('_reconstruct', 'scalar'):
            pairs.append((getattr(multiarray, name), f'{package}.multiarray.{name}'))
    # a ConfigDict is what a nested dict in a data set's metainfo has become
    types = [HistoryBuffer, ConfigDict, np.ndarray, np.dtype, *sorted(numbers, key=repr)]
    return types + pairs


def is_needed() -> bool:
    """Tell whether torch's unpickler is restricted by default (torch >= 2.6)."""
    import torch

    major, minor = torch.__version__.split('.')[:2]
    return (int(major), int(minor)) >= (2, 6)


def apply() -> None:
    """Allow mmengine's types; to allow them twice is to allow them once."""
    import torch

    torch.serialization.add_safe_globals(safe_globals())


REPAIR = Repair(
    name='safe-checkpoints',
    module='mmengine.runner.checkpoint',
    summary="--resume dies on torch >= 2.6: 'Weights only load failed'",
    until="mmengine's checkpoints hold nothing but tensors, numbers and text",
    is_needed=is_needed,
    apply=apply,
)
