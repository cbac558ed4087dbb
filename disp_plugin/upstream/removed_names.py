"""Names that NumPy, SciPy, diffusers and transformers have removed, and mmagic 1.2 still uses.

Only mmagic sees them: some exist while the modules that use them are executed, the others in the
one module that calls them.
Upstream: https://github.com/open-mmlab/mmagic (1.2.0); the release notes of the versions named.
"""

import importlib
import importlib.metadata
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

from disp_plugin.upstream import slim_import
from disp_plugin.upstream.patch import patch

if TYPE_CHECKING:
    import numpy as np


@patch(
    'numpy-bool8',
    'mmagic.utils.trans_utils',
    is_needed=lambda host: importlib.metadata.version('numpy') >= '2',
)
def lend_bool8(host: ModuleType) -> Iterator[None]:
    """Let ``np.bool8`` exist while mmagic is imported, which NumPy 2.0 has removed.

    Symptom: ``import mmagic.utils`` dies with "module 'numpy' has no attribute 'bool8'".
    Cause: trans_utils.py:376 uses the alias as a key of a table at import time.
    Delete when: mmagic no longer names ``np.bool8``.
    """
    import numpy as np

    np.bool8 = np.bool_  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del np.bool8  # type: ignore[attr-defined]


@patch('ppl-percentile', 'mmagic.evaluation.metrics.ppl')
def give_percentile(host: ModuleType) -> None:
    """Let PPL call ``np.percentile(interpolation=)``, which NumPy 2.4 has renamed.

    Symptom: PPL dies with "percentile() got an unexpected keyword argument 'interpolation'", after
    all images have been generated.
    Cause: ppl.py:162 and 163 pass the former name of ``method``.
    Delete when: ppl.py passes ``method``.
    """
    numpy = host.np

    def percentile(
        values: 'np.ndarray', percent: float, interpolation: str = 'linear'
    ) -> 'np.floating':
        return numpy.percentile(values, percent, method=interpolation)

    vars(host)['np'] = SimpleNamespace(**{**vars(numpy), 'percentile': percentile})


@patch('fid-sqrtm', 'mmagic.evaluation.metrics.fid')
def give_sqrtm(host: ModuleType) -> None:
    """Let FID call ``sqrtm(disp=False)``, an argument that SciPy 1.18 has removed.

    Symptom: FID dies with "sqrtm() got an unexpected keyword argument 'disp'".
    Cause: fid.py:198 passes ``disp=False`` for the root of a matrix (F, F) and its relative error.
    Delete when: fid.py calls ``sqrtm`` without ``disp``.
    """
    linalg = host.linalg

    def sqrtm(matrix: 'np.ndarray', disp: bool = True) -> 'np.ndarray | tuple[np.ndarray, None]':
        root = linalg.sqrtm(matrix)
        return root if disp else (root, None)  # FID does not look at the error

    vars(host)['linalg'] = SimpleNamespace(sqrtm=sqrtm)


# module that mmagic imports -> (name it wants there, module that has it today, under which name)
MOVED = {
    'diffusers.models.unet_2d_condition': (
        'UNet2DConditionOutput',
        'diffusers.models.unets.unet_2d_condition',
        'UNet2DConditionOutput',
    ),
    'diffusers.pipelines.paint_by_example': (
        'PaintByExampleImageEncoder',
        'diffusers.pipelines.paint_by_example.image_encoder',
        'PaintByExampleImageEncoder',
    ),
    'transformers.models.clip.feature_extraction_clip': (
        'CLIPFeatureExtractor',
        'transformers',
        'CLIPImageProcessor',
    ),
}


def _find(module: str, name: str) -> object:
    try:
        return getattr(importlib.import_module(module), name, None)
    except (ImportError, RuntimeError):  # the lazy modules of both packages raise RuntimeError
        return None


@patch('diffusers-names', slim_import.EDITORS_PACKAGE, is_needed=lambda host: slim_import.is_full())
def lend_moved_names(host: ModuleType) -> Iterator[None]:
    """Let three modules exist while all of mmagic is imported, as before transformers 5.

    Symptom: the full ``import mmagic.models`` dies with "No module named
    'diffusers.models.unet_2d_condition'", and two alike. The slim import needs none of them.
    Cause: absolute imports in mmagic/models/editors/animatediff/animatediff_utils.py:10,
    vico/vico_utils.py:10 and stable_diffusion/clip_wrapper.py:14; diffusers 0.29 and
    transformers 5 have moved the names.
    Delete when: mmagic imports these names from where they are.
    """
    aliases: dict[str, ModuleType] = {}
    for module, (name, place, name_there) in MOVED.items():
        if _find(module, name) is None:
            aliases[module] = ModuleType(module, 'Alias of disp_plugin for a name that has moved.')
            # where nothing has it, mmagic only compares classes with it
            setattr(aliases[module], name, _find(place, name_there) or type(name, (), {}))
    replaced = {module: sys.modules.get(module) for module in aliases}
    sys.modules.update(aliases)
    try:
        yield
    finally:
        for module, former in replaced.items():
            del sys.modules[module]
            if former is not None:
                sys.modules[module] = former
