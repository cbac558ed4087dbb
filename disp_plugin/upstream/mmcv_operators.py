"""mmcv's operators: without a compiler (mmcv-lite), in half precision, and torch's convolutions.

The functions themselves are in ``operators.py``.
Upstream: https://github.com/open-mmlab/mmcv (2.1.0), mmcv-lite on PyPI;
https://github.com/open-mmlab/mmagic (1.2.0).
"""

import functools
import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

from disp_plugin.upstream.patch import patch, rebind

if TYPE_CHECKING:
    from torch import Tensor

EXTENSION = 'mmcv._ext'
PURE_OPERATORS = ('bias_act', 'filtered_lrelu', 'fused_bias_leakyrelu', 'upfirdn2d')


class StandIn(ModuleType):
    """Replace ``mmcv._ext`` by a module that has an operator of any name."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith('__'):
            raise AttributeError(name)

        def raise_missing(*args: object, **kwargs: object) -> NoReturn:
            raise NotImplementedError(
                f"mmcv's operator {name!r} is compiled code, and the installed mmcv-lite has none; "
                'to use it, uninstall mmcv-lite, then install full mmcv: '
                'pip install "mmcv>=2.0,<2.2"'
            )

        return raise_missing


def is_compiled(host: ModuleType | None = None) -> bool:
    """Tell whether a full mmcv is installed; mmcv-lite has no compiled operators."""
    loaded = sys.modules.get(EXTENSION)
    if loaded is not None:
        return not isinstance(loaded, StandIn)
    try:
        return importlib.util.find_spec(EXTENSION) is not None
    except (ImportError, ValueError):
        return False


def _is_lite(host: ModuleType) -> bool:
    return not is_compiled()


@patch('mmcv-ext', 'mmcv.ops', _is_lite)
def stand_in(host: ModuleType) -> Iterator[None]:
    """Let ``mmcv.ops`` import without compiled operators; calling one names the package to install.

    Symptom: ``import mmagic.models`` dies with "No module named 'mmcv._ext'" beside mmcv-lite.
    Cause: mmcv/utils/ext_loader.py:13 imports the compiled extension with any module of
    ``mmcv.ops``, which mmagic's GANs (stylegan2, stylegan3) import whether they use it or not.
    Delete when: mmagic imports without ``mmcv.ops``, or mmcv's operators without a compiler.
    """
    extension = StandIn(EXTENSION, 'Stand-in of disp_plugin for the compiled operators of mmcv.')
    extension.__spec__ = importlib.machinery.ModuleSpec(EXTENSION, None)
    sys.modules.setdefault(EXTENSION, extension)
    yield  # it stays


@patch('plain-convolutions', 'mmcv.ops.conv2d_gradfix')
def use_torchs_convolutions(host: ModuleType) -> None:
    """Give mmcv torch's convolutions, differentiable to any order on every device today.

    Symptom: every convolution of a StyleGAN warns that 'aten:cudnn_convolution_backward_weight is
    not supported'; on CUDA the transposed one fails in its backward pass under autocast, and
    ``torch.compile`` stops at each of them.
    Cause: conv2d_gradfix.py:36-51 warns on torch 1.10 and later and then calls torch; :67-85 sends
    a transposed convolution on CUDA through an autograd function that autocast does not see, which
    mixes types in its backward pass. A full mmcv does so, too.
    Delete when: mmcv's functions are torch's.
    """
    import torch.nn.functional as F

    rebind(host.conv2d, F.conv2d)
    rebind(host.conv_transpose2d, F.conv_transpose2d)


def replace_operator(host: ModuleType) -> None:
    """Give mmcv an operator that the StyleGANs call in PyTorch alone.

    Symptom: beside mmcv-lite the StyleGANs die on CUDA with "mmcv's operator ... is compiled code";
    on the CPU they die in half precision (an AssertionError in upfirdn2d, with
    ``num_fp16_scales``), and give a wider type than they are given where a bias or an autocast
    region is wider.
    Cause: mmcv/ops/fused_bias_leakyrelu.py:244, upfirdn2d.py:110, bias_act.py:161 and
    filtered_lrelu.py:99 send CUDA tensors to ``mmcv._ext``; upfirdn2d.py:166 asserts a float32
    filter, while mmagic hands the filter over in the type of the image.
    Delete when: mmcv has these operators on every device without a compiler.
    """
    name = host.__name__.rpartition('.')[2]
    operators = importlib.import_module('disp_plugin.upstream.operators')
    rebind(getattr(host, name), getattr(operators, name))


for name in PURE_OPERATORS:
    patch(f'pure-operators ({name})', f'mmcv.ops.{name}', _is_lite)(replace_operator)


@patch('half-filter', 'mmcv.ops.upfirdn2d', is_compiled)
def widen_filters(host: ModuleType) -> None:
    """Let a compiled mmcv's upfirdn2d take filters of any floating type.

    Symptom: with a full mmcv and ``num_fp16_scales`` a StyleGAN2 dies on CUDA with "f must be
    float32", on the CPU with an AssertionError.
    Cause: mmagic/models/editors/stylegan2/stylegan2_modules.py:79, :122 and ../stylegan1/
    stylegan1_modules.py:223 give the filter the type of the image; mmcv/ops/upfirdn2d.py:166 and
    csrc/pytorch/cuda/upfirdn2d_kernel.cu:650 take float32 alone.
    Delete when: mmcv's upfirdn2d takes filters of any floating type.
    """
    rebind(host.upfirdn2d, widen_filter(host.upfirdn2d))


def widen_filter(upfirdn2d: Callable[..., 'Tensor']) -> Callable[..., 'Tensor']:
    """Wrap mmcv's upfirdn2d to take filters of any floating type."""

    @functools.wraps(upfirdn2d)
    def resample(
        input: 'Tensor', filter: 'Tensor | None', *args: object, **kwargs: object
    ) -> 'Tensor':
        return upfirdn2d(input, None if filter is None else filter.float(), *args, **kwargs)

    return resample


def add_bfloat16(host: ModuleType) -> None:
    """Compute a compiled mmcv's operator in PyTorch alone for bfloat16.

    Symptom: with a full mmcv a StyleGAN2 in bfloat16 dies on CUDA with "not implemented for
    'BFloat16'".
    Cause: csrc/pytorch/cuda/fused_bias_leakyrelu_cuda.cu:100 and upfirdn2d_kernel.cu:708 are
    compiled for float64, float32 and float16.
    Delete when: they are for bfloat16, too.
    """
    name = host.__name__.rpartition('.')[2]
    operators = importlib.import_module('disp_plugin.upstream.operators')
    compiled = getattr(host, name)
    rebind(compiled, send_bfloat16(compiled, getattr(operators, name)))


for name in ('fused_bias_leakyrelu', 'upfirdn2d'):
    patch(f'bfloat16 ({name})', f'mmcv.ops.{name}', is_compiled)(add_bfloat16)


def send_bfloat16(
    compiled: Callable[..., 'Tensor'], pure: Callable[..., 'Tensor']
) -> Callable[..., 'Tensor']:
    """Wrap an operator to send inputs in bfloat16 to another one."""

    @functools.wraps(compiled)
    def operate(input: 'Tensor', *args: object, **kwargs: object) -> 'Tensor':
        is_ours = str(input.dtype) == 'torch.bfloat16'
        return (pure if is_ours else compiled)(input, *args, **kwargs)

    return operate
