"""What a repair is, and the book in which it is kept which of them act.

A repair belongs to one module of the host (mmengine, mmcv or mmagic) and acts just before or just
after that module is executed. Nothing here imports the host.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

WAITING = 'waiting'
ACTIVE = 'active'
NOT_NEEDED = 'not needed'


@dataclass(frozen=True)
class Repair:
    """One thing that is broken in the host on a current stack, and its cure.

    Args:
        name (str): Short name, the one that the doctor prints.
        module (str): Dotted name of the host's module that the repair belongs to.
        summary (str): What a user sees without the repair.
        until (str): When the repair can be deleted.
        is_needed (Callable): ``() -> bool``, asked at the moment the repair would act.
        apply (Callable): ``() -> None``, mends. It may rely on ``module`` being loaded if
            ``moment`` is ``'after'``. Applying it twice does the same as applying it once.
        moment (str): ``'before'`` or ``'after'`` the module is executed. Defaults to ``'after'``.
        undo (Callable, optional): For ``'before'``: called when the module has been executed, for a
            repair that must not outlive it. Defaults to None.
    """

    name: str
    module: str
    summary: str
    until: str
    is_needed: Callable[[], bool]
    apply: Callable[[], None]
    moment: Literal['before', 'after'] = 'after'
    undo: Callable[[], None] | None = None

    @property
    def state(self) -> str:
        """``'waiting'`` (its module is not loaded), ``'active'`` or ``'not needed'``."""
        return _states.get(self.name, WAITING)

    def act(self) -> bool:
        """Mend once, if needed; the answer is remembered.

        Returns:
            bool: Whether the repair has acted in this call.
        """
        if self.name in _states:
            return False
        if not self.is_needed():
            _states[self.name] = NOT_NEEDED
            return False
        self.apply()
        _states[self.name] = ACTIVE
        return True


_states: dict[str, str] = {}


def host_module(name: str) -> ModuleType:
    """Fetch a loaded module of the host without importing anything.

    Args:
        name (str): Dotted name of a module that is being or has been imported.

    Returns:
        ModuleType: That module, taken from ``sys.modules``.
    """
    return sys.modules[name]


def rebind(old: Any, new: Any, packages: tuple[str, ...] = ('mmengine', 'mmcv', 'mmagic')) -> None:
    """Replace a function wherever modules of the host have already imported it by name.

    Args:
        old (Any): The object that is replaced.
        new (Any): What takes its place.
        packages (tuple[str]): Top-level packages in which to look.
            Defaults to ('mmengine', 'mmcv', 'mmagic').
    """
    for name, module in list(sys.modules.items()):
        if name.partition('.')[0] not in packages or module is None:
            continue
        for key, value in list(vars(module).items()):
            if value is old:
                setattr(module, key, new)
