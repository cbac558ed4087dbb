"""mmcv's StyleGAN operators in PyTorch alone, for an mmcv without compiled code (mmcv-lite).

Symptom: beside mmcv-lite the StyleGANs die on CUDA with "mmcv's operator ... is compiled code"; on
the CPU they die in half precision (an AssertionError in upfirdn2d, with ``num_fp16_scales``), and
give a wider type than they are given where a bias or an autocast region is wider.
Cause: mmcv/ops/fused_bias_leakyrelu.py:244, upfirdn2d.py:110, bias_act.py:161 and
filtered_lrelu.py:99 send CUDA tensors to ``mmcv._ext``; upfirdn2d.py:166 asserts a float32 filter,
while mmagic hands the filter over in the type of the image.
Upstream: https://github.com/open-mmlab/mmcv (2.1.0), mmcv-lite on PyPI.
Delete when: mmcv has these operators on every device without a compiler.

The four functions have the names, arguments and meaning of mmcv's. As with its compiled code the
output has the type of the input, whatever autocast says, and a filter is not differentiated.
Everything is built of torch's own functions, so that derivatives of any order and
``torch.compile`` come with them. Against mmcv's plain versions (tools/benchmarks/operators.py) an
image is not filled with zeros before it is filtered, only pixels that are kept are computed, and
bias and gain are one pass over the image.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from disp_plugin.upstream import mmcv_ext
from disp_plugin.upstream.repair import Repair, host_module, rebind

# Below this many channels oneDNN's depth-wise convolution wastes its vector registers.
_FEW_CHANNELS = 16

_DEFAULT_GAINS = {'linear': 1.0, 'relu': 2**0.5, 'lrelu': 2**0.5}


def fused_bias_leakyrelu(
    input: Tensor, bias: Tensor | None, negative_slope: float = 0.2, scale: float = 2**0.5
) -> Tensor:
    """Compute ``leaky_relu(input + bias) * scale`` (Karras et al., 2020, StyleGAN2).

    Args:
        input (Tensor): Features (N,C) or (N,C,...), of any floating type.
        bias (Tensor, optional): One number per channel (C,), of any floating type.
        negative_slope (float): Slope below zero. Defaults to 0.2.
        scale (float): Factor of the result. Defaults to 2**0.5.

    Returns:
        Tensor: The shape and the type of ``input``.

    Raises:
        ValueError: ``bias`` is not one number per channel.
    """
    return bias_act(input, bias, act='lrelu', alpha=negative_slope, gain=scale)


def bias_act(
    input: Tensor,
    bias: Tensor | None = None,
    dim: int = 1,
    act: str = 'linear',
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    use_custom_op: bool = True,
) -> Tensor:
    """Compute ``clamp(act(input + bias) * gain)`` (Karras et al., 2021, StyleGAN3).

    Args:
        input (Tensor): Features of any shape and floating type.
        bias (Tensor, optional): (C,), one number per index of ``dim``. Defaults to None.
        dim (int): The dimension that ``bias`` belongs to. Defaults to 1.
        act (str): 'linear', 'relu', 'lrelu', 'tanh', 'sigmoid', 'elu', 'selu', 'softplus' or
            'swish'. Defaults to 'linear'.
        alpha (float, optional): Slope of 'lrelu' below zero. Defaults to None: 0.2.
        gain (float, optional): Factor. Defaults to None: 2**0.5 for 'relu', 'lrelu' and 'swish',
            1 for the others.
        clamp (float, optional): Bound of the result's magnitude. Defaults to None: no bound.
        use_custom_op (bool): Without effect, there is only this one. Defaults to True.

    Returns:
        Tensor: The shape and the type of ``input``.

    Raises:
        ValueError: ``bias`` does not fit, ``clamp`` is negative, or ``act`` is unknown.
    """
    _check_bias_act(input, bias, dim, act, clamp)
    if bias is not None:
        bias = bias.to(input.dtype)
    if act not in _DEFAULT_GAINS or (gain is not None and gain <= 0):
        reference: Any = host_module('mmcv.ops.bias_act')
        output = reference._bias_act_ref(input, bias, dim, act, alpha, gain, clamp)
        return output.to(input.dtype)  # autocast widens softplus
    # a positive gain can be drawn into a function whose two halves are straight
    output = _scale_and_shift(input, bias, dim, _DEFAULT_GAINS[act] if gain is None else gain)
    if act == 'lrelu':
        output = F.leaky_relu(output, 0.2 if alpha is None else alpha)
    elif act == 'relu':
        output = F.relu(output)
    return output if clamp is None else output.clamp(-clamp, clamp)


def _scale_and_shift(input: Tensor, bias: Tensor | None, dim: int, gain: float) -> Tensor:
    """Compute ``(input + bias) * gain`` in one pass over the input."""
    if bias is None:
        return input if gain == 1 else input * gain
    bias = bias.reshape([-1] + [1] * (input.ndim - dim - 1))
    return torch.add(bias if gain == 1 else bias * gain, input, alpha=float(gain))


def _check_bias_act(
    input: Tensor, bias: Tensor | None, dim: int, act: str, clamp: float | None
) -> None:
    if clamp is not None and clamp < 0:
        raise ValueError(f'clamp must not be negative, got {clamp}; give None for no bound')
    if act not in _DEFAULT_GAINS:
        known: Any = host_module('mmcv.ops.bias_act').__dict__['activation_funcs']
        if act not in known:
            raise ValueError(f'act must be one of {", ".join(known)}, got {act!r}')
    if bias is not None:
        if not 0 <= dim < input.ndim:
            raise ValueError(f'dim must be in [0, {input.ndim}) for this input, got {dim}')
        if bias.ndim != 1 or bias.shape[0] != input.shape[dim]:
            raise ValueError(
                f'bias must hold one number for each of {input.shape[dim]} channels '
                f'(dimension {dim} of the input), got shape {tuple(bias.shape)}'
            )


def upfirdn2d(
    input: Tensor,
    filter: Tensor | None,
    up: int | Sequence[int] = 1,
    down: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1,
    use_custom_op: bool = True,
) -> Tensor:
    """Put zeros between pixels, pad or crop, filter, and keep every n-th pixel.

    The meaning is that of ``scipy.signal.upfirdn`` in two dimensions, on each channel alone, for
    the positions at which the filter lies within the padded image.

    Args:
        input (Tensor): Images (N,C,H,W) of any floating type.
        filter (Tensor, optional): (fh,fw), or (f,) for both axes one after the other, or None for
            no filter; of any floating type. It gets no gradient.
        up (int | Sequence[int]): For each pixel, ``up - 1`` zeros follow; a number or (x, y).
            Defaults to 1.
        down (int | Sequence[int]): One of ``down`` pixels is kept; a number or (x, y).
            Defaults to 1.
        padding (int | Sequence[int]): Zeros around the image with the inserted ones; a number,
            (x, y) or (x_before, x_after, y_before, y_after). Negative numbers crop. Defaults to 0.
        flip_filter (bool): False for a convolution, True for a correlation. Defaults to False.
        gain (float): Factor of the result. Defaults to 1.
        use_custom_op (bool): Without effect, there is only this one. Defaults to True.

    Returns:
        Tensor: (N,C,H',W') of the type of ``input``, with ``H' = ceil((H * up + padding - fh + 1) /
        down)``.

    Raises:
        ValueError: ``input`` has not four dimensions, a factor is below 1, ``padding`` has not 1, 2
            or 4 numbers, ``filter`` not 1 or 2 dimensions, or it is larger than the padded image.
    """
    if input.ndim != 4:
        raise ValueError(f'input must be images (N, C, H, W), got shape {tuple(input.shape)}')
    (up_x, up_y), (down_x, down_y) = _read_factors(up, 'up'), _read_factors(down, 'down')
    x0, x1, y0, y1 = _read_padding(padding)
    if filter is None:
        filter = torch.ones(1, 1, device=input.device)
    if filter.ndim not in (1, 2):
        raise ValueError(f'filter must have 1 or 2 dimensions, got shape {tuple(filter.shape)}')
    # oneDNN's half-precision convolutions round more and are slow in their backward pass
    narrow = input.dtype in (torch.float16, torch.bfloat16) and input.device.type == 'cpu'
    images = input.float() if narrow else input
    taps = filter.detach().to(images.dtype)
    with _without_autocast(input.device.type):
        if taps.ndim == 1:
            row, taps = taps[None], taps[:, None]
            images = _filter_images(
                images, row, (up_x, 1), (down_x, 1), (x0, x1, 0, 0), flip_filter
            )
            up_x, down_x, x0, x1 = 1, 1, 0, 0
        taps = taps if gain == 1 else taps * gain
        images = _filter_images(
            images, taps, (up_x, up_y), (down_x, down_y), (x0, x1, y0, y1), flip_filter
        )
    return images.to(input.dtype)


def _read_factors(value: int | Sequence[int], name: str) -> tuple[int, int]:
    factors = (value, value) if isinstance(value, int) else tuple(value)
    if len(factors) != 2 or min(factors) < 1:
        raise ValueError(f'{name} must be a number or a pair (x, y), at least 1, got {value}')
    return factors


def _read_padding(value: int | Sequence[int]) -> tuple[int, int, int, int]:
    padding = (value,) * 4 if isinstance(value, int) else tuple(value)
    if len(padding) == 2:
        padding = (padding[0], padding[0], padding[1], padding[1])
    if len(padding) != 4:
        raise ValueError(f'padding must be 1, 2 or 4 numbers, got {value}')
    return padding


def _without_autocast(device: str) -> AbstractContextManager[None]:
    if device == 'meta' or not torch.is_autocast_enabled(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


def _filter_images(
    images: Tensor,
    taps: Tensor,
    up: tuple[int, int],
    down: tuple[int, int],
    padding: tuple[int, int, int, int],
    is_flipped: bool,
) -> Tensor:
    """Filter (N,C,H,W) with taps (fh,fw) of the same type; factors are (x, y)."""
    batch, channels, height, width = images.shape
    x0, x1, y0, y1 = padding
    padded = height * up[1] + y0 + y1, width * up[0] + x0 + x1
    if padded[0] < taps.shape[0] or padded[1] < taps.shape[1]:
        raise ValueError(
            f'filter of {tuple(taps.shape)} taps is larger than the padded image, which is '
            f'{padded}; pad more, or give larger images'
        )
    is_folded = channels < _FEW_CHANNELS and images.device.type == 'cpu' and not _is_traced()
    if is_folded:
        images = images.reshape(1, batch * channels, height, width)
    if up == (1, 1):
        output = _convolve(images, taps if is_flipped else taps.flip(0, 1), down, padding)
    else:
        output = _spread(images, taps.flip(0, 1) if is_flipped else taps, up, padding)
        if down != (1, 1):
            output = output[:, :, :: down[1], :: down[0]]
    return output.reshape(batch, channels, *output.shape[2:]) if is_folded else output


def _is_traced() -> bool:
    """Tell whether the batch size must not become a constant of a graph."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


def _convolve(
    images: Tensor, taps: Tensor, down: tuple[int, int], padding: tuple[int, int, int, int]
) -> Tensor:
    x0, x1, y0, y1 = padding
    if x0 != x1 or y0 != y1 or min(padding) < 0:
        images = F.pad(images, padding)
        x0 = y0 = 0
    channels = images.shape[1]
    weight = taps.expand(channels, 1, *taps.shape)
    stride = (down[1], down[0])
    return F.conv2d(images, weight, stride=stride, padding=(y0, x0), groups=channels)


def _spread(
    images: Tensor, taps: Tensor, up: tuple[int, int], padding: tuple[int, int, int, int]
) -> Tensor:
    """Filter with zeros between the pixels, which a transposed convolution does without them."""
    channels = images.shape[1]
    weight = taps.expand(channels, 1, *taps.shape)
    # the transposed convolution gives every position at which the filter touches a pixel
    (num_y, num_x), (x0, x1, y0, y1) = taps.shape, padding
    before = y0 - num_y + 1, x0 - num_x + 1
    after = y1 - num_y + up[1], x1 - num_x + up[0]
    options: dict[str, Any] = {'stride': (up[1], up[0]), 'groups': channels}
    if before == after and max(before) <= 0:
        return F.conv_transpose2d(images, weight, padding=(-before[0], -before[1]), **options)
    output = F.conv_transpose2d(images, weight, **options)
    return F.pad(output, (before[1], after[1], before[0], after[0]))


def filtered_lrelu(
    input: Tensor,
    filter_up: Tensor | None = None,
    filter_down: Tensor | None = None,
    bias: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    gain: float = 2**0.5,
    slope: float = 0.2,
    clamp: float | None = None,
    flip_filter: bool = False,
    use_custom_op: bool = True,
) -> Tensor:
    """Add a bias, enlarge, apply a leaky ReLU and shrink (Karras et al., 2021, StyleGAN3).

    Args:
        input (Tensor): Images (N,C,H,W) of any floating type.
        filter_up (Tensor, optional): Filter of the enlargement, see :func:`upfirdn2d`.
            Defaults to None.
        filter_down (Tensor, optional): Filter of the shrinking. Defaults to None.
        bias (Tensor, optional): One number per channel (C,). Defaults to None.
        up (int): Factor of the enlargement. Defaults to 1.
        down (int): Factor of the shrinking. Defaults to 1.
        padding (int | Sequence[int]): Padding of the enlarged image, see :func:`upfirdn2d`.
            Defaults to 0.
        gain (float): Factor of the leaky ReLU's result. Defaults to 2**0.5.
        slope (float): Slope of the leaky ReLU below zero. Defaults to 0.2.
        clamp (float, optional): Bound of the leaky ReLU's magnitude. Defaults to None.
        flip_filter (bool): See :func:`upfirdn2d`. Defaults to False.
        use_custom_op (bool): Without effect, there is only this one. Defaults to True.

    Returns:
        Tensor: (N,C,H',W') of the type of ``input``.

    Raises:
        ValueError: As for :func:`bias_act` and :func:`upfirdn2d`.
    """
    images = bias_act(input, bias)
    images = upfirdn2d(images, filter_up, up, 1, padding, flip_filter, gain=up**2)
    images = bias_act(images, act='lrelu', alpha=slope, gain=gain, clamp=clamp)
    return upfirdn2d(images, filter_down, down=down, flip_filter=flip_filter)


def is_needed() -> bool:
    """Tell whether mmcv has no compiled operators."""
    return not mmcv_ext.is_compiled()


def _repair(operator: Callable[..., Tensor]) -> Repair:
    name = operator.__name__
    module = f'mmcv.ops.{name}'

    def apply() -> None:
        rebind(getattr(host_module(module), name), operator)

    return Repair(
        name=f'pure-operators ({name})',
        module=module,
        summary=f'{name}, which the StyleGANs call, needs a compiled mmcv on CUDA',
        until=f"mmcv's {name} runs on every device without a compiler",
        is_needed=is_needed,
        apply=apply,
    )


OPERATORS = (bias_act, filtered_lrelu, fused_bias_leakyrelu, upfirdn2d)
REPAIRS = tuple(_repair(operator) for operator in OPERATORS)
