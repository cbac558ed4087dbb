"""Mend mmagic, then register every class of this package: what configs name in ``custom_imports``.

``custom_imports = dict(imports=['disp_plugin.register'], allow_failed_imports=False)``
"""

import importlib
import importlib.util

from disp_plugin.upstream import apply_patches

__all__ = ['ROOMS', 'register_rooms']

ROOMS = (
    'datasets',
    'encoders',
    'priors',
    'models',
    'samplers',
    'techniques',
    'hooks',
    'evaluation',
)
"""Rooms that register classes, from the first to the last of the data's way."""


def register_rooms() -> list[str]:
    """Import every room, which registers its classes in mmagic's registries.

    Importing is what registers, so that a second call does nothing more.

    Returns:
        list[str]: Names of the rooms that were imported. A room that is not part of this
        installation is left out; a room that is there but fails to import raises.
    """
    names = [f'disp_plugin.{room}' for room in ROOMS]
    found = [name for name in names if importlib.util.find_spec(name) is not None]
    for name in found:
        importlib.import_module(name)
    return found


apply_patches()
register_rooms()
