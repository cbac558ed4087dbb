"""Patch mmagic, then register every class of this package; configs name it in ``custom_imports``.

``custom_imports = dict(imports=['disp_plugin.register'], allow_failed_imports=False)``
"""

import importlib

from disp_plugin.upstream import apply_patches

__all__ = ['ROOMS']

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

apply_patches()
for room in ROOMS:
    importlib.import_module(f'disp_plugin.{room}')
