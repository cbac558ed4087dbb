"""Lets every repair act at the moment the module it belongs to is imported.

A finder at the head of ``sys.meta_path`` knows the few modules of the host that have a repair. It
asks the other finders for them, and wraps the loader they answer with, for the time of one
execution.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from disp_plugin.upstream import slim_import
from disp_plugin.upstream.repair import Repair


class MendingLoader(importlib.abc.Loader):
    """Executes a module with its repairs around it, then leaves the real loader in its place.

    Args:
        loader (Loader): The loader that the module would have had.
        repairs (Sequence[Repair]): The repairs that belong to the module.
    """

    def __init__(self, loader: Any, repairs: Sequence[Repair]) -> None:
        self.loader = loader
        self.repairs = repairs

    def __getattr__(self, name: str) -> Any:
        # get_source, get_data, resource readers: whoever holds the spec sees the real loader
        return getattr(self.loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Create the module as its own loader would."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module, mended."""
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        acted = [repair for repair in self.repairs if repair.moment == 'before' and repair.act()]
        try:
            with slim_import.executing(module.__name__):
                if module.__name__ == slim_import.EDITORS_PACKAGE and not slim_import.is_full():
                    slim_import.fill_editors(module)
                else:
                    self.loader.exec_module(module)
        finally:
            for repair in acted:
                if repair.undo is not None:
                    repair.undo()
        for repair in self.repairs:
            if repair.moment == 'after':
                repair.act()


class MendingFinder(importlib.abc.MetaPathFinder):
    """Finds the modules that have repairs, and hands their loaders out wrapped.

    Args:
        repairs (Sequence[Repair]): All repairs.
    """

    def __init__(self, repairs: Sequence[Repair]) -> None:
        self.repairs: dict[str, list[Repair]] = {}
        for repair in repairs:
            self.repairs.setdefault(repair.module, []).append(repair)

    def find_spec(
        self, fullname: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a module that has repairs, or belongs to the slim import; None for any other."""
        if fullname not in self.repairs and not slim_import.is_slim_part(fullname):
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, 'find_spec'):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = MendingLoader(spec.loader, self.repairs.get(fullname, ()))
                return spec
        return None


def install(repairs: Sequence[Repair]) -> None:
    """Mend what is already imported, and put the finder at the head of ``sys.meta_path``, once.

    Args:
        repairs (Sequence[Repair]): All repairs.
    """
    if not any(isinstance(finder, MendingFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, MendingFinder(repairs))
    for repair in repairs:
        # a module that has been imported without its 'before' repair did not need it
        if repair.moment == 'after' and _is_loaded(repair.module):
            repair.act()


def _is_loaded(name: str) -> bool:
    module = sys.modules.get(name)
    if module is None:
        return False
    return not getattr(getattr(module, '__spec__', None), '_initializing', False)
