"""mmengine's and mmcv's question whether mmcv is compiled, which Python 3.14 cannot answer.

Symptom: building an optimizer dies with "module 'pkgutil' has no attribute 'find_loader'" on
Python 3.14 (a DeprecationWarning from 3.12 on).
Cause: mmengine/utils/dl_utils/misc.py:109 and mmcv/utils/ext_loader.py:71 call that function.
Upstream: https://docs.python.org/3/whatsnew/3.14.html#removed; mmengine 0.10.7, mmcv 2.1.0.
Delete when: both call ``importlib.util.find_spec``.
"""

import pkgutil
from typing import Any

from disp_plugin.upstream import mmcv_ext
from disp_plugin.upstream.repair import Repair, host_module, rebind


def is_needed() -> bool:
    """Tell whether ``pkgutil.find_loader`` is gone."""
    return not hasattr(pkgutil, 'find_loader')


def _repair(module: str, function: str) -> Repair:
    def apply() -> None:
        old: Any = getattr(host_module(module), function)
        rebind(old, mmcv_ext.is_compiled)

    return Repair(
        name=f'compiled-operators ({module.partition(".")[0]})',
        module=module,
        summary='no optimizer can be built on Python 3.14: pkgutil.find_loader is gone',
        until=f'{module} no longer calls pkgutil.find_loader',
        is_needed=is_needed,
        apply=apply,
    )


REPAIRS = (
    _repair('mmcv.utils.ext_loader', 'check_ops_exist'),
    _repair('mmengine.utils.dl_utils.misc', 'mmcv_full_available'),
)
