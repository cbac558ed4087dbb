"""Three names that diffusers and transformers have moved, for mmagic's full registration.

Symptom: ``import mmagic.models`` dies with "No module named
'diffusers.models.unet_2d_condition'", and two alike, beside current diffusers and transformers.
Cause: absolute imports in mmagic/models/editors/animatediff/animatediff_utils.py:10,
vico/vico_utils.py:10 and stable_diffusion/clip_wrapper.py:14.
Upstream: https://github.com/open-mmlab/mmagic (1.2.0); diffusers 0.29 ("models.unets"),
transformers 5.
Delete when: mmagic imports these names from where they are.

The aliases stand in ``sys.modules`` while mmagic's editors are imported, and not longer: other
code sees both packages as they are. The slim import does not need them.
"""

import importlib
import sys
import types
from collections.abc import Callable
from typing import Any

from disp_plugin.upstream import slim_import
from disp_plugin.upstream.repair import Repair


def _unet_2d_condition() -> dict[str, Any]:
    module = importlib.import_module('diffusers.models.unets.unet_2d_condition')
    return {
        name: getattr(module, name) for name in ('UNet2DConditionOutput', 'UNet2DConditionModel')
    }


def _paint_by_example() -> dict[str, Any]:
    try:
        module = importlib.import_module('diffusers.pipelines.paint_by_example.image_encoder')
        encoder = module.PaintByExampleImageEncoder
    except (ImportError, AttributeError):
        # the pipeline has left diffusers; mmagic only compares classes with it
        encoder = type('PaintByExampleImageEncoder', (), {})
    return {'PaintByExampleImageEncoder': encoder}


def _feature_extraction_clip() -> dict[str, Any]:
    return {'CLIPFeatureExtractor': importlib.import_module('transformers').CLIPImageProcessor}


# module that mmagic imports -> (name it wants there, where that is now)
ALIASES: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    'diffusers.pipelines.paint_by_example': ('PaintByExampleImageEncoder', _paint_by_example),
    'diffusers.models.unet_2d_condition': ('UNet2DConditionOutput', _unet_2d_condition),
    'transformers.models.clip.feature_extraction_clip': (
        'CLIPFeatureExtractor',
        _feature_extraction_clip,
    ),
}

_replaced: dict[str, types.ModuleType | None] = {}


def moved() -> list[str]:
    """List the modules of ``ALIASES`` that cannot be imported as mmagic imports them.

    Returns:
        list[str]: Dotted names.
    """
    return [name for name, (wanted, _) in ALIASES.items() if not _has(name, wanted)]


def _has(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name)
    except (ImportError, RuntimeError):  # the lazy modules of both packages raise RuntimeError
        return False


def is_needed() -> bool:
    """Tell whether mmagic is about to be imported as a whole, and a name has moved."""
    return slim_import.is_full() and bool(moved())


def apply() -> None:
    """Put the aliases into ``sys.modules``."""
    for name in moved():
        alias = types.ModuleType(name, 'Alias of disp_plugin for a name that has moved.')
        alias.__dict__.update(ALIASES[name][1]())
        _replaced[name] = sys.modules.get(name)
        sys.modules[name] = alias


def undo() -> None:
    """Take the aliases out again."""
    for name, module in _replaced.items():
        if module is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = module
    _replaced.clear()


REPAIR = Repair(
    name='diffusers-names',
    module=slim_import.EDITORS_PACKAGE,
    summary='full registration dies beside current diffusers and transformers: three names moved',
    until='mmagic imports these names from where they are',
    is_needed=is_needed,
    apply=apply,
    moment='before',
    undo=undo,
)
