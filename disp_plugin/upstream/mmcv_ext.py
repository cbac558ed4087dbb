"""A stand-in for mmcv's compiled operators, where mmcv has none (mmcv-lite).

Symptom: ``import mmagic.models`` dies with "No module named 'mmcv._ext'" beside mmcv-lite.
Cause: mmcv/utils/ext_loader.py:13 imports the compiled extension when any module of ``mmcv.ops``
is imported, and mmagic's GANs import ``mmcv.ops`` (stylegan2, stylegan3) whether they use it or
not.
Upstream: https://github.com/open-mmlab/mmcv (2.1.0), mmcv-lite on PyPI.
Delete when: mmagic imports without ``mmcv.ops``, or mmcv's operators import without a compiler.

With a compiled mmcv nothing is done. In the stand-in every operator exists; calling one raises an
error that names the package which provides it.
"""

import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn

from disp_plugin.upstream.repair import Repair

EXTENSION = 'mmcv._ext'


class StandIn(types.ModuleType):
    """The module that takes the place of ``mmcv._ext``; any operator asked of it exists."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith('__'):
            raise AttributeError(name)
        operator = _missing_operator(name)
        setattr(self, name, operator)
        return operator


def _missing_operator(name: str) -> Callable[..., NoReturn]:
    def raise_missing(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            f"mmcv's operator {name!r} is compiled code, and the installed mmcv-lite has none; "
            'to use it, uninstall mmcv-lite, then install full mmcv: pip install "mmcv>=2.0,<2.2"'
        )

    raise_missing.__name__ = name
    return raise_missing


def is_compiled() -> bool:
    """Tell whether the installed mmcv has its compiled operators.

    Returns:
        bool: True for a full mmcv; False for mmcv-lite, with or without the stand-in, and where no
        mmcv is installed.
    """
    loaded = sys.modules.get(EXTENSION)
    if loaded is not None:
        return not isinstance(loaded, StandIn)
    try:
        return importlib.util.find_spec(EXTENSION) is not None
    except (ImportError, ValueError):
        return False


def is_needed() -> bool:
    """Tell whether ``mmcv._ext`` is absent."""
    return EXTENSION not in sys.modules and not is_compiled()


def apply() -> None:
    """Put the stand-in where ``mmcv._ext`` would be."""
    stand_in = StandIn(EXTENSION, 'Stand-in of disp_plugin for the compiled operators of mmcv.')
    stand_in.__spec__ = importlib.machinery.ModuleSpec(EXTENSION, None)
    sys.modules[EXTENSION] = stand_in


REPAIR = Repair(
    name='mmcv-ext',
    module='mmcv.ops',
    summary="mmagic does not import beside mmcv-lite: No module named 'mmcv._ext'",
    until="mmagic's GANs import without mmcv.ops",
    is_needed=is_needed,
    apply=apply,
    moment='before',
)
