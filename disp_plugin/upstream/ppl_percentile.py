"""``np.percentile(..., interpolation=...)`` in mmagic's perceptual path length.

Symptom: PPL dies with "percentile() got an unexpected keyword argument 'interpolation'" on NumPy
2.4, after all images have been generated.
Cause: mmagic/evaluation/metrics/ppl.py:162 and 163 pass the former name of ``method``, which NumPy
2.4 has removed.
Upstream: https://github.com/open-mmlab/mmagic (1.2.0); NumPy 2.4 release notes, "Expired
deprecations".
Delete when: ppl.py passes ``method``.
"""

import inspect
from types import ModuleType
from typing import Any

from disp_plugin.upstream.repair import Repair, host_module

MODULE = 'mmagic.evaluation.metrics.ppl'


class Numpy:
    """NumPy with the former signature of ``percentile``.

    Args:
        numpy (ModuleType): The real ``numpy``.
    """

    def __init__(self, numpy: ModuleType) -> None:
        self._numpy = numpy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._numpy, name)

    def percentile(self, values: Any, share: float, interpolation: str = 'linear') -> Any:
        """Take a percentile.

        Args:
            values (np.ndarray): Of any shape; all are taken together.
            share (float): In percent, in [0, 100].
            interpolation (str): As ``method`` of NumPy. Defaults to 'linear'.

        Returns:
            np.ndarray: The percentile, without dimensions.
        """
        return self._numpy.percentile(values, share, method=interpolation)


def is_needed() -> bool:
    """Tell whether the installed ``percentile`` has no ``interpolation``."""
    return 'interpolation' not in inspect.signature(host_module(MODULE).np.percentile).parameters


def apply() -> None:
    """Hand the former signature to the module of PPL, and to no other."""
    host = host_module(MODULE)
    host.np = Numpy(host.np)  # type: ignore[attr-defined]


REPAIR = Repair(
    name='ppl-percentile',
    module=MODULE,
    summary='PPL dies on NumPy 2.4: percentile() has no interpolation any more',
    until='ppl.py passes method',
    is_needed=is_needed,
    apply=apply,
)
