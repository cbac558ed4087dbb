"""What mmagic 1.2 needs on a current stack: patches of the host, and the slim import.

A file patches one subject of the host. Its docstring says for each patch the symptom, the cause,
where upstream it belongs, and when it can be deleted. ``apply_patches()`` is all that the other
rooms need. Importing this package imports nothing of the host.
"""

import importlib
import importlib.util
from collections.abc import Sequence

from disp_plugin.upstream import import_hook, slim_import
from disp_plugin.upstream.patch import Patch

__all__ = ['MMAGIC_CURE', 'MMCV_CURE', 'Patch', 'apply_patches', 'patch_config_reading', 'patches']

# In the order in which the host meets them.
PATCH_FILES = (
    'config_reading',
    'integer_betas',
    'cpu_distributed',
    'checkpoint_files',
    'mmcv_operators',
    'removed_names',
    'conditional_gan',
    'adaptive_augmentation',
    'evaluator_warning',
)

MMAGIC_CURE = 'pip install --no-deps "mmagic>=1.2,<1.3"'
MMCV_CURE = 'pip install "disp_plugin[lite]"'


def patches() -> list[Patch]:
    """List all patches with their present state, in the order in which the host meets them."""
    found: list[Patch] = []
    for name in PATCH_FILES:
        of_file: Sequence[Patch] = importlib.import_module(f'{__name__}.{name}').PATCHES
        found.extend(of_file)
    return found


def patch_config_reading() -> None:
    """Let every patch act when its module is imported, or now where that is loaded.

    Imports nothing of the host, so that it is cheap and possible while a config is being read.
    """
    import_hook.install(patches())


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
    if slim_import.is_full() and not slim_import.is_editors_loaded():
        slim_import.check_full()
    for part in ('datasets', 'engine', 'evaluation', 'models', 'visualization'):
        importlib.import_module(f'mmagic.{part}')
    scope = importlib.import_module('mmengine.registry').DefaultScope
    if scope.get_current_instance() is None:
        scope.get_instance('mmagic', scope_name='mmagic')
