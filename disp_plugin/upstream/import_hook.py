"""Apply every patch at the moment the module it belongs to is imported.

A finder at the head of ``sys.meta_path`` knows which modules of the host have a patch. It asks the
other finders for them and wraps the loader that it gets while the module is executed.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

from disp_plugin.upstream import slim_import
from disp_plugin.upstream.patch import Patch


class PatchingLoader(importlib.abc.Loader):
    """Execute a module with its patches around it, then put the real loader back."""

    def __init__(self, loader: importlib.abc.Loader, patches: Sequence[Patch]) -> None:
        self.loader = loader
        self.patches = patches

    def __getattr__(self, name: str) -> object:
        # get_source, get_data, resource readers: whoever holds the spec sees the real loader
        return getattr(self.loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Create the module as its own loader would."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module, patched."""
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        acted = [patch for patch in self.patches if patch.moment == 'before' and patch.act()]
        try:
            with slim_import.executing(module.__name__):
                if module.__name__ == slim_import.EDITORS_PACKAGE and not slim_import.is_full():
                    slim_import.fill_editors(module)
                else:
                    self.loader.exec_module(module)
        finally:
            for patch in acted:
                if patch.undo is not None:
                    patch.undo()
        for patch in self.patches:
            if patch.moment == 'after':
                patch.act()


class PatchingFinder(importlib.abc.MetaPathFinder):
    """Find the modules that have patches, and wrap their loaders."""

    def __init__(self, patches: Sequence[Patch]) -> None:
        self.patches: dict[str, list[Patch]] = {}
        for patch in patches:
            self.patches.setdefault(patch.module, []).append(patch)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a module that has patches or belongs to the slim import; None for any other."""
        if fullname not in self.patches and not slim_import.is_slim_part(fullname):
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, 'find_spec'):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = PatchingLoader(spec.loader, self.patches.get(fullname, ()))
                return spec
        return None


def install(patches: Sequence[Patch]) -> None:
    """Patch what is already imported; put the finder at the head of ``sys.meta_path``, once."""
    if not any(isinstance(finder, PatchingFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, PatchingFinder(patches))
    for patch in patches:
        module = sys.modules.get(patch.module)
        is_initializing = getattr(getattr(module, '__spec__', None), '_initializing', False)
        # a module that was imported without its 'before' patch did not need it
        if patch.moment == 'after' and module is not None and not is_initializing:
            patch.act()
