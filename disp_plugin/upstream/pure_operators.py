"""mmcv's StyleGAN operators in PyTorch alone, for an mmcv without compiled code (mmcv-lite).

Symptom: beside mmcv-lite the StyleGANs die on CUDA with "mmcv's operator ... is compiled code"; on
the CPU they die in half precision (an AssertionError in upfirdn2d, with ``num_fp16_scales``), and
give a wider type than they are given where a bias or an autocast region is wider.
Cause: mmcv/ops/fused_bias_leakyrelu.py:244, upfirdn2d.py:110, bias_act.py:161 and
filtered_lrelu.py:99 send CUDA tensors to ``mmcv._ext``; upfirdn2d.py:166 asserts a float32 filter,
while mmagic hands the filter over in the type of the image.
Upstream: https://github.com/open-mmlab/mmcv (2.1.0), mmcv-lite on PyPI.
Delete when: mmcv has these operators on every device without a compiler.

The functions themselves stand in ``operators/``.
"""

import importlib

from disp_plugin.upstream import mmcv_ext
from disp_plugin.upstream.repair import Repair, host_module, rebind

NAMES = ('bias_act', 'filtered_lrelu', 'fused_bias_leakyrelu', 'upfirdn2d')


def is_needed() -> bool:
    """Tell whether mmcv has no compiled operators."""
    return not mmcv_ext.is_compiled()


def _repair(name: str) -> Repair:
    module = f'mmcv.ops.{name}'

    def apply() -> None:
        operators = importlib.import_module('disp_plugin.upstream.operators')
        rebind(getattr(host_module(module), name), getattr(operators, name))

    return Repair(
        name=f'pure-operators ({name})',
        module=module,
        summary=f'{name}, which the StyleGANs call, needs a compiled mmcv on CUDA',
        until=f"mmcv's {name} runs on every device without a compiler",
        is_needed=is_needed,
        apply=apply,
    )


REPAIRS = tuple(_repair(name) for name in NAMES)
