"""What mmagic 1.2 needs on a current stack: one file per repair, and the slim import.

``apply_patches()`` is all that the other rooms need. Importing this package imports nothing of
the host.
"""

import importlib
import importlib.util
from typing import Any

from disp_plugin.upstream import import_hook, slim_import
from disp_plugin.upstream.repair import Repair

__all__ = ['MMAGIC_CURE', 'MMCV_CURE', 'Repair', 'apply_patches', 'patch_config_reading', 'repairs']

# One file per repair, in the order in which the host meets them.
_REPAIR_FILES = (
    'package_lookup',
    'package_configs',
    'config_text',
    'integer_betas',
    'cpu_processes',
    'cpu_ddp',
    'cpu_sync_batchnorm',
    'safe_checkpoints',
    'separate_checkpoints',
    'whole_files',
    'compiled_operators',
    'mmcv_ext',
    'plain_convolutions',
    'pure_operators',
    'half_filter',
    'numpy_bool8',
    'diffusers_names',
    'integer_labels',
    'loss_scaler',
    'ada_grid_sample',
    'adaptive_augmentation',
    'fid_sqrtm',
    'ppl_percentile',
    'evaluator_warning',
)

MMAGIC_CURE = 'pip install --no-deps "mmagic>=1.2,<1.3"'
MMCV_CURE = 'pip install "disp_plugin[lite]"'


def repairs() -> list[Repair]:
    """List all repairs with their present state.

    Returns:
        list[Repair]: In the order in which the host meets them; see ``Repair.state``.
    """
    modules = [importlib.import_module(f'{__name__}.{name}') for name in _REPAIR_FILES]
    return [
        repair
        for module in modules
        for repair in getattr(module, 'REPAIRS', None) or (module.REPAIR,)
    ]


def patch_config_reading() -> None:
    """Let every repair act when its module is imported, and mend what is already imported.

    Imports nothing of the host, so that it is cheap and possible while a config is being read.
    """
    import_hook.install(repairs())


def apply_patches(full: bool | None = None) -> None:
    """Mend the host and import mmagic, slim by default; the second call does nothing.

    After it mmagic's registries are filled and 'mmagic' is the default scope, if there was none.

    Args:
        full (bool, optional): True to import mmagic as a whole, which needs diffusers, transformers
            and others; False for the GAN half only. By default the environment variable
            ``DISP_PLUGIN_FULL_MMAGIC`` decides, and without it the GAN half is imported. If
            mmagic.models is already imported, it is kept as it is.

    Raises:
        ImportError: mmagic or mmcv is not installed, or a package that ``full`` needs.
    """
    patch_config_reading()
    _check_host()
    if full is None:
        full = bool(slim_import.full_by_environment())
    slim_import.choose(full)
    if slim_import.is_full() and not slim_import.is_editors_loaded():
        _check_full()
    for part in ('datasets', 'engine', 'evaluation', 'models', 'visualization'):
        importlib.import_module(f'mmagic.{part}')
    _set_default_scope()


def _check_host() -> None:
    for name, cure in (('mmcv', MMCV_CURE), ('mmagic', MMAGIC_CURE)):
        if importlib.util.find_spec(name) is None:
            raise ImportError(f'{name} is not installed; the way out: {cure}', name=name)


def _check_full() -> None:
    missing = slim_import.missing_for_full()
    if missing:
        raise ImportError(
            f'mmagic cannot be imported as a whole: {", ".join(missing)} not installed; install '
            f'them, or leave {slim_import.FULL_VARIABLE} unset for the GAN half, which needs none'
        )


def _set_default_scope() -> None:
    scope: Any = importlib.import_module('mmengine.registry').DefaultScope
    if scope.get_current_instance() is None:
        scope.get_instance('mmagic', scope_name='mmagic')
