"""The StyleGANs' operators in PyTorch alone, on any device, and ADA's sampling of images.

mmcv's have its names, arguments and meaning. As with its compiled code the output has the type of
the input, whatever autocast says, and a filter gets no gradient. They are made of torch's
functions: derivatives of any order exist, and ``torch.compile`` takes them. Importing this file
imports torch, which a file of patches must not do.
"""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    'bias_act',
    'filtered_lrelu',
    'fused_bias_leakyrelu',
    'grid_sample',
    'upfirdn2d',
    'without_autocast',
]

_DEFAULT_GAINS = {'linear': 1.0, 'relu': 2**0.5, 'lrelu': 2**0.5}

# Below this many channels oneDNN's depth-wise convolution wastes its vector registers.
_FEW_CHANNELS = 16


def fused_bias_leakyrelu(
    input: Tensor, bias: Tensor | None, negative_slope: float = 0.2, scale: float = 2**0.5
) -> Tensor:
    """Compute ``leaky_relu(input + bias) * scale`` (Karras et al., 2020, StyleGAN2).

    Takes features (N,C) or (N,C,...) and a bias (C,), each of any floating type; the result has the
    type of ``input``.
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

    A bias and a positive gain are one pass over the features, where mmcv's plain version takes two.

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
    """
    if bias is not None:
        bias = bias.to(input.dtype)
    if act not in _DEFAULT_GAINS or (gain is not None and gain <= 0):
        reference = sys.modules['mmcv.ops.bias_act']  # an import would split compiled graphs
        output = reference._bias_act_ref(input, bias, dim, act, alpha, gain, clamp)
        return output.to(input.dtype)  # autocast widens softplus
    # a positive gain can be drawn into a function whose two halves are straight
    gain = float(_DEFAULT_GAINS[act] if gain is None else gain)
    if bias is not None:
        bias = bias.reshape([-1] + [1] * (input.ndim - dim - 1))
        output = torch.add(bias if gain == 1 else bias * gain, input, alpha=gain)
    else:
        output = input if gain == 1 else input * gain
    # in place, as the sum is nobody else's: one feature map less is kept for the backward pass
    is_ours = output is not input
    if act == 'lrelu':
        slope = 0.2 if alpha is None else alpha
        output = F.leaky_relu(output, slope, inplace=is_ours and slope >= 0)
    elif act == 'relu':
        output = F.relu(output, inplace=is_ours)
    return output if clamp is None else output.clamp(-clamp, clamp)


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

    ``up`` and ``filter_up`` enlarge images (N,C,H,W) after the bias (C,); ``padding`` is for the
    enlarged image; ``gain``, ``slope`` and ``clamp`` belong to the leaky ReLU. The result has the
    type of ``input``. See :func:`upfirdn2d` and :func:`bias_act`.
    """
    images = bias_act(input, bias)
    images = upfirdn2d(images, filter_up, up, 1, padding, flip_filter, gain=up**2)
    images = bias_act(images, act='lrelu', alpha=slope, gain=gain, clamp=clamp)
    return upfirdn2d(images, filter_down, down=down, flip_filter=flip_filter)


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
    the positions at which the filter lies within the padded image. Images are not filled with
    zeros before they are filtered, and only pixels that are kept are computed.

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
    """
    up_x, up_y = (up, up) if isinstance(up, int) else up
    down_x, down_y = (down, down) if isinstance(down, int) else down
    x0, x1, y0, y1 = _read_padding(padding)
    if filter is None:
        filter = torch.ones(1, 1, device=input.device)
    # oneDNN's half-precision convolutions round more and are slow in their backward pass
    narrow = input.dtype in (torch.float16, torch.bfloat16) and input.device.type == 'cpu'
    images = input.float() if narrow else input
    taps = filter.detach().to(images.dtype)
    with without_autocast(input.device.type):
        if taps.ndim == 1:
            row = _Resampling((up_x, 1), (down_x, 1), (x0, x1, 0, 0), flip_filter)
            images = _filter_images(images, taps[None], row)
            taps = taps[:, None]
            up_x, down_x, x0, x1 = 1, 1, 0, 0
        taps = taps if gain == 1 else taps * gain
        rest = _Resampling((up_x, up_y), (down_x, down_y), (x0, x1, y0, y1), flip_filter)
        images = _filter_images(images, taps, rest)
    return images.to(input.dtype)


def _read_padding(padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    padding = (padding, padding) if isinstance(padding, int) else padding
    if len(padding) == 2:
        padding = (padding[0], padding[0], padding[1], padding[1])
    x0, x1, y0, y1 = padding
    return x0, x1, y0, y1


def without_autocast(device: str) -> AbstractContextManager[None]:
    """Leave autocast on a type of device, such as 'cuda'; does nothing where there is none."""
    if device == 'meta' or not torch.is_autocast_enabled(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


class _Resampling(NamedTuple):
    """What is done to an image but for the taps; factors are (x, y), paddings x first."""

    up: tuple[int, int]
    down: tuple[int, int]
    padding: tuple[int, int, int, int]
    is_flipped: bool

    def adjoint(self, before: torch.Size, after: torch.Size, taps: torch.Size) -> '_Resampling':
        """Find the resampling that takes a gradient back, from the shapes of the images."""
        x0, _, y0, _ = self.padding
        (up_x, up_y), (down_x, down_y) = self.up, self.down
        padding = (
            taps[1] - 1 - x0,
            before[3] * up_x - after[3] * down_x + x0 - up_x + 1,
            taps[0] - 1 - y0,
            before[2] * up_y - after[2] * down_y + y0 - up_y + 1,
        )
        return _Resampling(self.down, self.up, padding, not self.is_flipped)


class _Context(Protocol):
    """What an autograd function may keep between its passes."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]
    adjoint: _Resampling

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _Resample(torch.autograd.Function):
    """A resampling whose derivative of any order is again one.

    Left to itself, autograd computes in the second derivative of a convolution the gradient of the
    weights, group after group, even where nobody asks for it.
    """

    @staticmethod
    def forward(ctx: _Context, images: Tensor, taps: Tensor, resampling: _Resampling) -> Tensor:
        output = _resample(images, taps, resampling)
        ctx.save_for_backward(taps)
        ctx.adjoint = resampling.adjoint(images.shape, output.shape, taps.shape)
        return output

    @staticmethod
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor, None, None]:
        (taps,) = ctx.saved_tensors
        with without_autocast(grad.device.type):
            return _Resample.apply(grad, taps, ctx.adjoint), None, None


def _filter_images(images: Tensor, taps: Tensor, resampling: _Resampling) -> Tensor:
    """Filter (N,C,H,W) with taps (fh,fw) of the same type."""
    if _is_traced():
        return _resample(images, taps, resampling)
    return _Resample.apply(images, taps, resampling)


def _is_traced() -> bool:
    """Tell whether a graph is being made, in which the batch size must not be a constant."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


def _resample(images: Tensor, taps: Tensor, resampling: _Resampling) -> Tensor:
    up, down, padding, is_flipped = resampling
    batch, channels, height, width = images.shape
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
    is_crop = before == after and max(before) <= 0
    crop = (-before[0], -before[1]) if is_crop else (0, 0)
    output = F.conv_transpose2d(
        images, weight, stride=(up[1], up[0]), padding=crop, groups=channels
    )
    return output if is_crop else F.pad(output, (before[1], after[1], before[0], after[0]))


def grid_sample(input: Tensor, grid: Tensor) -> Tensor:
    """Sample images bilinearly, with zeros around them, corners not aligned.

    Differentiable to any order in the images, and once in the grid.

    Takes images (N,C,H,W) of any floating type and a grid (N,H',W',2) of points (x, y), where -1
    and 1 are the image's borders; gives (N,C,H',W') of the images' type.

    Raises:
        RuntimeError: In a second backward pass through a grid that requires a gradient.
    """
    return _Sample.apply(input, grid.to(input.dtype))


class _Sample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _Context, images: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(images, grid)
        return F.grid_sample(images, grid, 'bilinear', 'zeros', align_corners=False)

    @staticmethod
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _SampleGradient.apply(grad, *ctx.saved_tensors, ctx.needs_input_grad)


class _SampleGradient(torch.autograd.Function):
    """The gradient, of which torch knows no derivative; in ``grad`` it is linear."""

    @staticmethod
    def forward(
        ctx: _Context, grad: Tensor, images: Tensor, grid: Tensor, is_needed: tuple[bool, ...]
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.save_for_backward(grid)
        # 0, 0, False: bilinear, zeros, corners not aligned
        return torch.ops.aten.grid_sampler_2d_backward(grad, images, grid, 0, 0, False, is_needed)

    @staticmethod
    def backward(
        ctx: _Context, grad_of_images: Tensor, grad_of_grid: Tensor | None
    ) -> tuple[Tensor | None, None, None, None]:
        (grid,) = ctx.saved_tensors
        if grid.requires_grad:
            raise RuntimeError(
                'grid_sample has no second derivative with respect to its grid; detach the grid, '
                'or take the penalty of images that were not sampled with a learned one'
            )
        return _Sample.apply(grad_of_images, grid), None, None, None
