"""mmcv's replacements of torch's convolutions, which torch has overtaken.

Symptom: every convolution of a StyleGAN warns that 'aten:cudnn_convolution_backward_weight is not
supported'; on CUDA the transposed one fails in its backward pass under autocast, and
``torch.compile`` stops at each of them.
Cause: mmcv/ops/conv2d_gradfix.py:36-51 warns on torch 1.10 and later and then calls torch;
:67-85 sends a transposed convolution on CUDA through an autograd function that autocast does not
see, so that its backward pass mixes types.
Upstream: https://github.com/open-mmlab/mmcv (2.1.0); mmagic's StyleGAN1 to 3 and ADA call both.
Delete when: mmcv's functions are torch's.

Torch's convolutions have been differentiable to any order, on every device, for longer than this
project's oldest torch exists, so that a full mmcv is mended, too: there the detour only costs.
"""

from typing import Any

from disp_plugin.upstream.repair import Repair, host_module, rebind

MODULE = 'mmcv.ops.conv2d_gradfix'
NAMES = ('conv2d', 'conv_transpose2d')


def is_needed() -> bool:
    """Tell whether mmcv's convolutions are not torch's."""
    import torch.nn.functional as F

    module: Any = host_module(MODULE)
    return any(getattr(module, name) is not getattr(F, name) for name in NAMES)


def apply() -> None:
    """Put torch's functions in the place of mmcv's, whose arguments are the same."""
    import torch.nn.functional as F

    module: Any = host_module(MODULE)
    for name in NAMES:
        rebind(getattr(module, name), getattr(F, name))


REPAIR = Repair(
    name='plain-convolutions',
    module=MODULE,
    summary='each convolution of a StyleGAN warns, and torch.compile and autocast fail in some',
    until="mmcv's conv2d and conv_transpose2d are torch's",
    is_needed=is_needed,
    apply=apply,
)
