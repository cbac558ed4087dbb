"""What mmagic 1.2 needs on a current stack: patches of the host, and the slim import.

A file patches one subject of the host. Each of its patches is a function whose docstring says the
symptom, the cause upstream, and when it can be deleted. ``apply_patches()`` is all that the other
rooms need. Importing this package imports nothing of the host.
"""

import gc
import importlib
import importlib.util

from disp_plugin.upstream import (  # noqa: F401 (each file registers its patches)
    adaptive_augmentation,
    checkpoint_files,
    config_reading,
    cpu_distributed,
    half_precision,
    mmcv_operators,
    removed_names,
    run_start,
    slim_import,
    training,
)
from disp_plugin.upstream.patch import PATCHES, Patch
from disp_plugin.upstream.patch import install as patch_config_reading

__all__ = ['MMAGIC_CURE', 'MMCV_CURE', 'PATCHES', 'Patch', 'apply_patches', 'patch_config_reading']

MMAGIC_CURE = 'pip install --no-deps "mmagic>=1.2,<1.3"'
MMCV_CURE = 'pip install "disp_plugin[lite]"'


def apply_patches(full: bool | None = None) -> None:
    """Patch the host and import mmagic, slim by default; the second call does nothing.

    After it mmagic's registries are filled and 'mmagic' is the default scope, if there was none.

    Args:
        full (bool, optional): True to import mmagic as a whole, which needs diffusers, transformers
            and others; False for the GAN half only. If mmagic.models is already imported, it is
            kept as it is. Defaults to None: the environment variable ``DISP_PLUGIN_FULL_MMAGIC``
            decides, and without it the GAN half is imported.

    Raises:
        ImportError: mmagic or mmcv is not installed, or a package that ``full`` needs.
    """
    patch_config_reading()
    for name, cure in (('mmcv', MMCV_CURE), ('mmagic', MMAGIC_CURE)):
        if importlib.util.find_spec(name) is None:
            raise ImportError(f'{name} is not installed; install it by {cure}', name=name)
    slim_import.choose(bool(slim_import.full_by_environment()) if full is None else full)
    is_collecting = gc.isenabled()
    gc.disable()  # modules are no garbage: searching them again and again takes a tenth of the time
    try:
        for part in ('datasets', 'engine', 'evaluation', 'models', 'visualization'):
            importlib.import_module(f'mmagic.{part}')
    finally:
        if is_collecting:
            gc.enable()
    scope = importlib.import_module('mmengine.registry').DefaultScope
    if scope.get_current_instance() is None:
        scope.get_instance('mmagic', scope_name='mmagic')
