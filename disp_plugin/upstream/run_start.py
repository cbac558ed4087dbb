"""What mmengine does at the start of every run, and few runs need.

Upstream: https://github.com/open-mmlab/mmengine (0.10.7).
"""

import functools
import importlib.metadata
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace

from disp_plugin.upstream.patch import patch, rebind


@patch('dataset-collection', 'mmengine.dataset.base_dataset')
def keep_from_collecting(host: ModuleType) -> None:
    """Let a data set not search all of the memory for garbage when it has read its list.

    Symptom: a run starts 0.2 s later for each of its data sets.
    Cause: base_dataset.py:772 calls ``gc.collect()``; the list that it cleared is free without.
    Delete when: it does not.
    """
    vars(host)['gc'] = SimpleNamespace(collect=lambda: 0)


@patch('late-figure', 'mmengine.visualization.visualizer')
def make_figures_late(host: ModuleType) -> None:
    """Let a visualizer make its figure when something is drawn on it.

    Symptom: a run starts half a second later, in which matplotlib is imported; grids of a GAN's
    images are made without.
    Cause: visualizer.py:211 makes the figure in ``__init__``.
    Delete when: it makes it when it is drawn on.
    """
    make: Callable[[object, dict], tuple] = host.Visualizer._initialize_fig

    def make_late(self: object, fig_cfg: dict) -> tuple['_Late', '_Late', '_Late']:
        parts = functools.cache(lambda: make(self, fig_cfg))
        return _Late(lambda: parts()[0]), _Late(lambda: parts()[1]), _Late(lambda: parts()[2])

    host.Visualizer._initialize_fig = make_late
    # __init__ asks the figure for it
    host.Visualizer.dpi = property(lambda self: self.fig_save._make().get_dpi(), lambda *_: None)


class _Late:
    """Stand for a part of a figure, and pass on what it is asked for."""

    def __init__(self, make: Callable[[], object]) -> None:
        self._make = make

    def get_dpi(self) -> None:
        """Give nothing: the property that this is written to asks the figure."""

    def __getattr__(self, name: str) -> object:
        return getattr(self._make(), name)


@patch('version-of-torchvision', 'mmengine.utils.dl_utils.collect_env')
def read_version_of_torchvision(host: ModuleType) -> None:
    """Read torchvision's version for the log from its metadata.

    Symptom: a run that needs no torchvision starts a second later.
    Cause: collect_env.py:142 imports it for ``__version__``.
    Delete when: it asks ``importlib.metadata``.
    """
    collect: Callable[[], dict] = host.collect_env

    def collect_env() -> dict:
        """Collect what a log says of the environment."""
        if 'torchvision' in sys.modules:
            return collect()
        stand_in = ModuleType('torchvision')
        try:
            vars(stand_in)['__version__'] = importlib.metadata.version('torchvision')
        except importlib.metadata.PackageNotFoundError:
            return collect()
        sys.modules['torchvision'] = stand_in
        try:
            return collect()
        finally:
            del sys.modules['torchvision']

    rebind(collect, collect_env)
