"""``scipy.linalg.sqrtm(disp=...)`` in mmagic's FID.

Symptom: FID dies with "sqrtm() got an unexpected keyword argument 'disp'" on SciPy 1.18.
Cause: mmagic/evaluation/metrics/fid.py:198 passes ``disp=False``, which SciPy 1.18 has removed.
Upstream: https://github.com/open-mmlab/mmagic (1.2.0); SciPy 1.18 release notes.
Delete when: fid.py calls ``sqrtm`` without ``disp``.
"""

import inspect
from types import ModuleType
from typing import Any

from disp_plugin.upstream.repair import Repair, host_module

MODULE = 'mmagic.evaluation.metrics.fid'


class Linalg:
    """``scipy.linalg`` with the former signature of ``sqrtm``.

    Args:
        linalg (ModuleType): The real ``scipy.linalg``.
    """

    def __init__(self, linalg: ModuleType) -> None:
        self._linalg = linalg

    def __getattr__(self, name: str) -> Any:
        return getattr(self._linalg, name)

    def sqrtm(self, matrix: Any, disp: bool = True) -> Any:
        """Take the square root of a matrix.

        Args:
            matrix (np.ndarray): (F, F).
            disp (bool): As SciPy before 1.18: False to return an estimate of the error as well.
                Defaults to True.

        Returns:
            np.ndarray | tuple: The root (F, F); if not ``disp``, also the relative error in the
            Frobenius norm.
        """
        import numpy as np

        root = self._linalg.sqrtm(matrix)
        if disp:
            return root
        error = np.linalg.norm(root @ root - matrix) ** 2 / np.linalg.norm(matrix)
        return root, error


def is_needed() -> bool:
    """Tell whether the installed ``sqrtm`` has no ``disp``."""
    linalg = host_module(MODULE).linalg
    return 'disp' not in inspect.signature(linalg.sqrtm).parameters


def apply() -> None:
    """Hand the former signature to the module of the FID, and to no other."""
    host = host_module(MODULE)
    host.linalg = Linalg(host.linalg)  # type: ignore[attr-defined]


REPAIR = Repair(
    name='fid-sqrtm',
    module=MODULE,
    summary="FID dies on SciPy 1.18: sqrtm() got an unexpected keyword argument 'disp'",
    until='fid.py calls sqrtm without disp',
    is_needed=is_needed,
    apply=apply,
)
