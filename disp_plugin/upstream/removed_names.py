"""Names that NumPy, SciPy, diffusers and transformers have removed, and mmagic 1.2 still uses.

**NumPy 2.0: np.bool8.**
Symptom: ``import mmagic.utils`` dies with "module 'numpy' has no attribute 'bool8'".
Cause: mmagic/utils/trans_utils.py:376 uses the alias as a key of a table at import time.
Delete when: mmagic no longer names ``np.bool8``.

**NumPy 2.4: np.percentile(interpolation=).**
Symptom: PPL dies with "percentile() got an unexpected keyword argument 'interpolation'", after all
images have been generated.
Cause: mmagic/evaluation/metrics/ppl.py:162 and 163 pass the former name of ``method``.
Delete when: ppl.py passes ``method``.

**SciPy 1.18: sqrtm(disp=).**
Symptom: FID dies with "sqrtm() got an unexpected keyword argument 'disp'".
Cause: mmagic/evaluation/metrics/fid.py:198 passes ``disp=False``.
Delete when: fid.py calls ``sqrtm`` without ``disp``.

**diffusers 0.29 and transformers 5: three modules.**
Symptom: the full ``import mmagic.models`` dies with "No module named
'diffusers.models.unet_2d_condition'", and two alike.
Cause: absolute imports in mmagic/models/editors/animatediff/animatediff_utils.py:10,
vico/vico_utils.py:10 and stable_diffusion/clip_wrapper.py:14.
Delete when: mmagic imports these names from where they are.

Upstream: https://github.com/open-mmlab/mmagic (1.2.0); the release notes of the versions named.

Only mmagic sees the names: ``np.bool8`` and the three modules exist while the modules that use them
are executed, and the functions exist in the one module that calls them. The slim import does not
need the three modules.
"""

import importlib
import inspect
import sys
import types
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from disp_plugin.upstream import slim_import
from disp_plugin.upstream.patch import Patch, host_module

if TYPE_CHECKING:
    import numpy as np

PPL_MODULE = 'mmagic.evaluation.metrics.ppl'
FID_MODULE = 'mmagic.evaluation.metrics.fid'


def _lacks_bool8() -> bool:
    import numpy as np

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # NumPy 1.26 has it, with a DeprecationWarning
        return not hasattr(np, 'bool8')


def _lend_bool8() -> None:
    import numpy as np

    np.bool8 = np.bool_  # type: ignore[attr-defined]


def _take_bool8() -> None:
    import numpy as np

    vars(np).pop('bool8', None)


class Overlay:
    """Show a module with some functions replaced to the one module that calls them."""

    def __init__(self, module: types.ModuleType, **functions: Callable[..., object]) -> None:
        self._module = module
        vars(self).update(functions)

    def __getattr__(self, name: str) -> object:
        return getattr(self._module, name)


def percentile(
    values: 'np.ndarray', fraction: float, interpolation: str = 'linear'
) -> 'np.floating':
    """Take a percentile by the former signature of ``np.percentile``."""
    import numpy as np

    return np.percentile(values, fraction, method=interpolation)  # type: ignore[call-overload]


def sqrtm(matrix: 'np.ndarray', disp: bool = True) -> 'np.ndarray | tuple[np.ndarray, np.floating]':
    """Take the root of a matrix (F, F), and its relative error, by SciPy's former signature."""
    import numpy as np
    import scipy.linalg

    root = scipy.linalg.sqrtm(matrix)
    if disp:
        return root
    return root, np.linalg.norm(root @ root - matrix) ** 2 / np.linalg.norm(matrix)


def _lacks_interpolation() -> bool:
    percentile_of_host = host_module(PPL_MODULE).np.percentile
    return 'interpolation' not in inspect.signature(percentile_of_host).parameters


def _lacks_disp() -> bool:
    return 'disp' not in inspect.signature(host_module(FID_MODULE).linalg.sqrtm).parameters


def _give_percentile() -> None:
    host = host_module(PPL_MODULE)
    host.np = Overlay(host.np, percentile=percentile)


def _give_sqrtm() -> None:
    host = host_module(FID_MODULE)
    host.linalg = Overlay(host.linalg, sqrtm=sqrtm)


def _unet_2d_condition() -> dict[str, object]:
    module = importlib.import_module('diffusers.models.unets.unet_2d_condition')
    names = ('UNet2DConditionOutput', 'UNet2DConditionModel')
    return {name: getattr(module, name) for name in names}


def _paint_by_example() -> dict[str, object]:
    try:
        module = importlib.import_module('diffusers.pipelines.paint_by_example.image_encoder')
        encoder = module.PaintByExampleImageEncoder
    except (ImportError, AttributeError):
        # the pipeline has left diffusers; mmagic only compares classes with it
        encoder = type('PaintByExampleImageEncoder', (), {})
    return {'PaintByExampleImageEncoder': encoder}


def _feature_extraction_clip() -> dict[str, object]:
    return {'CLIPFeatureExtractor': importlib.import_module('transformers').CLIPImageProcessor}


# module that mmagic imports -> (name it wants there, function that finds it today)
ALIASES: dict[str, tuple[str, Callable[[], dict[str, object]]]] = {
    'diffusers.pipelines.paint_by_example': ('PaintByExampleImageEncoder', _paint_by_example),
    'diffusers.models.unet_2d_condition': ('UNet2DConditionOutput', _unet_2d_condition),
    'transformers.models.clip.feature_extraction_clip': (
        'CLIPFeatureExtractor',
        _feature_extraction_clip,
    ),
}

_replaced: dict[str, types.ModuleType | None] = {}


def moved() -> list[str]:
    """List the modules of ``ALIASES`` that cannot be imported as mmagic imports them."""
    return [name for name, (wanted, _) in ALIASES.items() if not _has(name, wanted)]


def _has(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name)
    except (ImportError, RuntimeError):  # the lazy modules of both packages raise RuntimeError
        return False


def _add_aliases() -> None:
    for name in moved():
        alias = types.ModuleType(name, 'Alias of disp_plugin for a name that has moved.')
        vars(alias).update(ALIASES[name][1]())
        _replaced[name] = sys.modules.get(name)
        sys.modules[name] = alias


def _remove_aliases() -> None:
    for name, module in _replaced.items():
        if module is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = module
    _replaced.clear()


PATCHES = (
    Patch(
        name='numpy-bool8',
        module='mmagic.utils.trans_utils',
        summary='mmagic does not import on NumPy 2: np.bool8 is gone',
        apply=_lend_bool8,
        is_needed=_lacks_bool8,
        moment='before',
        undo=_take_bool8,
    ),
    Patch(
        name='ppl-percentile',
        module=PPL_MODULE,
        summary='PPL dies on NumPy 2.4: percentile() has no interpolation any more',
        apply=_give_percentile,
        is_needed=_lacks_interpolation,
    ),
    Patch(
        name='fid-sqrtm',
        module=FID_MODULE,
        summary="FID dies on SciPy 1.18: sqrtm() got an unexpected keyword argument 'disp'",
        apply=_give_sqrtm,
        is_needed=_lacks_disp,
    ),
    Patch(
        name='diffusers-names',
        module=slim_import.EDITORS_PACKAGE,
        summary='full registration dies beside current diffusers and transformers',
        apply=_add_aliases,
        is_needed=lambda: slim_import.is_full() and bool(moved()),
        moment='before',
        undo=_remove_aliases,
    ),
)
