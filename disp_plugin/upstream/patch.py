"""What a patch of the host is, and the hook that applies it when its module is imported.

A patch belongs to one module of the host (mmengine, mmcv or mmagic). A finder at the head of
``sys.meta_path`` finds the modules that have patches. Nothing here imports the host.
"""

import functools
import importlib.abc
import importlib.machinery
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TypeVar

from disp_plugin.upstream import slim_import

WAITING = 'waiting'
ACTIVE = 'active'
NOT_NEEDED = 'not needed'

HOST = ('mmengine', 'mmcv', 'mmagic')

Function = TypeVar('Function', bound=Callable[[ModuleType], Iterator[None] | None])


@dataclass
class Patch:
    """One thing that is broken in the host on a current stack, and its cure.

    Args:
        name (str): Short name, the one that the doctor prints.
        module (str): Dotted name of the host's module that the patch belongs to.
        apply (Callable): Takes that module. A function acts when the module has been executed; a
            generator acts before that, up to its ``yield``, and undoes it afterwards.
        is_needed (Callable): Takes the module, just before ``apply``.
        state (str): ``'waiting'`` for the module, ``'active'`` or ``'not needed'``.
            Defaults to 'waiting'.
    """

    name: str
    module: str
    apply: Callable[[ModuleType], Iterator[None] | None]
    is_needed: Callable[[ModuleType], bool]
    state: str = WAITING

    @property
    def summary(self) -> str:
        """What the patch does, in one line."""
        return (self.apply.__doc__ or '').partition('\n')[0]

    @contextmanager
    def executing(self, module: ModuleType) -> Iterator[None]:
        """Act around the execution of the module, or after it."""
        if not inspect.isgeneratorfunction(self.apply):
            yield
            self.act_after(module)
        elif self._is_due(module):
            yield from self.apply(module) or ()
        else:
            yield

    def act_after(self, module: ModuleType) -> None:
        """Act on an executed module; for a patch that acts before, it is too late."""
        if not inspect.isgeneratorfunction(self.apply) and self._is_due(module):
            self.apply(module)

    def _is_due(self, module: ModuleType) -> bool:
        if self.state != WAITING:
            return False
        self.state = ACTIVE if self.is_needed(module) else NOT_NEEDED
        return self.state == ACTIVE


PATCHES: list[Patch] = []


def patch(
    name: str, module: str, is_needed: Callable[[ModuleType], bool] = lambda module: True
) -> Callable[[Function], Function]:
    """Register a function or generator as a patch; see :class:`Patch`."""

    def register(apply: Function) -> Function:
        PATCHES.append(Patch(name, module, apply, is_needed))
        return apply

    return register


def rebind(old: object, new: object) -> None:
    """Replace an object wherever modules of the host have imported it by name."""
    for name, module in list(sys.modules.items()):
        if name.partition('.')[0] not in HOST or module is None:
            continue
        for key, value in list(vars(module).items()):
            if value is old:
                setattr(module, key, new)


class PatchingFinder(importlib.abc.MetaPathFinder):
    """Find the modules that have patches, and let their loaders execute them patched."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a module that has patches or belongs to the slim import; None for any other."""
        patches = [patch for patch in PATCHES if patch.module == fullname]
        if not patches and not slim_import.is_slim_part(fullname):
            return None
        # a module within a package, which lies in a folder however the package itself was found
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            execute = functools.partial(_execute, patches, spec.loader.exec_module)
            spec.loader.exec_module = execute  # type: ignore[method-assign]
        return spec


def _execute(
    patches: Sequence[Patch], execute: Callable[[ModuleType], None], module: ModuleType
) -> None:
    with ExitStack() as stack:
        for patch in reversed(patches):
            stack.enter_context(patch.executing(module))
        stack.enter_context(slim_import.executing(module.__name__))
        if module.__name__ == slim_import.EDITORS_PACKAGE and not slim_import.is_full():
            slim_import.fill_editors(module)
        else:
            execute(module)


def install() -> None:
    """Let every patch act when its module is imported, or now where that is loaded.

    Imports nothing of the host, so that it is cheap and possible while a config is being read.
    """
    if not any(isinstance(finder, PatchingFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, PatchingFinder())
    for patch in PATCHES:
        module = sys.modules.get(patch.module)
        is_initializing = getattr(getattr(module, '__spec__', None), '_initializing', False)
        if module is not None and not is_initializing:
            patch.act_after(module)
