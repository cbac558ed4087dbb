"""A filter of half precision, which a compiled mmcv refuses though mmagic hands it over.

Symptom: with a full mmcv and ``num_fp16_scales`` a StyleGAN2 dies on CUDA with "f must be float32",
on the CPU with an AssertionError.
Cause: mmagic/models/editors/stylegan2/stylegan2_modules.py:79, :122 and ../stylegan1/
stylegan1_modules.py:223 give the filter the type of the image; mmcv/ops/upfirdn2d.py:166 and
csrc/pytorch/cuda/upfirdn2d_kernel.cu:650 take float32 alone.
Upstream: https://github.com/open-mmlab/mmcv (2.1.0), https://github.com/open-mmlab/mmagic (1.2.0).
Delete when: mmcv's upfirdn2d takes filters of any floating type.

Without compiled operators ``pure_operators.py`` replaces the function as a whole.
"""

import functools
from typing import Any

from disp_plugin.upstream import mmcv_ext
from disp_plugin.upstream.repair import Repair, host_module, rebind

MODULE = 'mmcv.ops.upfirdn2d'


def apply() -> None:
    """Let mmcv's upfirdn2d widen its filter."""
    module: Any = host_module(MODULE)
    rebind(module.upfirdn2d, widen_filter(module.upfirdn2d))


def widen_filter(upfirdn2d: Any) -> Any:
    """Wrap a resampling so that its filter is of float32.

    Args:
        upfirdn2d (Callable): mmcv's function, or one with its first two arguments.

    Returns:
        Callable: The same for filters of any floating type.
    """

    @functools.wraps(upfirdn2d)
    def resample(input: Any, filter: Any, *args: Any, **kwargs: Any) -> Any:
        return upfirdn2d(input, None if filter is None else filter.float(), *args, **kwargs)

    return resample


REPAIR = Repair(
    name='half-filter',
    module=MODULE,
    summary='num_fp16_scales fails with a compiled mmcv: its filters must be float32',
    until="mmcv's upfirdn2d takes filters of any floating type",
    is_needed=mmcv_ext.is_compiled,
    apply=apply,
)
