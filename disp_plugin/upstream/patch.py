"""What a patch of the host is, and the record of which patches act.

A patch belongs to one module of the host (mmengine, mmcv or mmagic) and acts once, just before or
just after that module is executed. Nothing here imports the host.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

WAITING = 'waiting'
ACTIVE = 'active'
NOT_NEEDED = 'not needed'


@dataclass(frozen=True)
class Patch:
    """One thing that is broken in the host on a current stack, and its cure.

    Args:
        name (str): Short name, the one that the doctor prints.
        module (str): Dotted name of the host's module that the patch belongs to.
        summary (str): What a user sees without the patch.
        apply (Callable): Acts. With ``moment='after'`` it may rely on ``module`` being loaded.
        is_needed (Callable): Asked just before ``apply``. Defaults to always.
        moment (str): ``'before'`` or ``'after'`` the module is executed. Defaults to 'after'.
        undo (Callable, optional): Called after the module's execution where a patch of ``'before'``
            must not outlive it. Defaults to None.
    """

    name: str
    module: str
    summary: str
    apply: Callable[[], None]
    is_needed: Callable[[], bool] = lambda: True
    moment: Literal['before', 'after'] = 'after'
    undo: Callable[[], None] | None = None

    @property
    def state(self) -> str:
        """``'waiting'`` (its module is not loaded), ``'active'`` or ``'not needed'``."""
        return _states.get(self.name, WAITING)

    def act(self) -> bool:
        """Apply the patch if it is needed and has not acted yet; tell whether it acted now."""
        if self.name in _states:
            return False
        is_needed = self.is_needed()
        if is_needed:
            self.apply()
        _states[self.name] = ACTIVE if is_needed else NOT_NEEDED
        return is_needed


_states: dict[str, str] = {}


def host_module(name: str) -> Any:
    """Get a loaded module of the host without importing anything."""
    return sys.modules[name]


def rebind(old: object, new: object) -> None:
    """Replace an object wherever modules of the host have imported it by name."""
    for name, module in list(sys.modules.items()):
        if name.partition('.')[0] not in ('mmengine', 'mmcv', 'mmagic') or module is None:
            continue
        for key, value in list(vars(module).items()):
            if value is old:
                setattr(module, key, new)
