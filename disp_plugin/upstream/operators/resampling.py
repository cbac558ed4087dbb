"""Resampling of images with a filter, of torch's functions alone.

The derivative of a resampling is a resampling, too, with the factors in each other's place. Images
are not filled with zeros before they are filtered, and only pixels that are kept are computed.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Below this many channels oneDNN's depth-wise convolution wastes its vector registers.
_FEW_CHANNELS = 16


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
            row = _Resampling((up_x, 1), (down_x, 1), (x0, x1, 0, 0), flip_filter)
            images = _filter_images(images, taps[None], row)
            taps = taps[:, None]
            up_x, down_x, x0, x1 = 1, 1, 0, 0
        taps = taps if gain == 1 else taps * gain
        rest = _Resampling((up_x, up_y), (down_x, down_y), (x0, x1, y0, y1), flip_filter)
        images = _filter_images(images, taps, rest)
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


class _Resample(torch.autograd.Function):
    """A resampling whose derivative of any order is again one.

    Left to itself, autograd computes in the second derivative of a convolution the gradient of the
    weights, group after group, even where nobody asks for it.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, taps: Tensor, resampling: _Resampling) -> Tensor:
        output = _resample(images, taps, resampling)
        ctx.save_for_backward(taps)
        ctx.adjoint = resampling.adjoint(images.shape, output.shape, taps.shape)
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (taps,) = ctx.saved_tensors
        with _without_autocast(grad.device.type):
            return _Resample.apply(grad, taps, ctx.adjoint), None, None


def _filter_images(images: Tensor, taps: Tensor, resampling: _Resampling) -> Tensor:
    """Filter (N,C,H,W) with taps (fh,fw) of the same type."""
    (up_x, up_y), (x0, x1, y0, y1) = resampling.up, resampling.padding
    padded = images.shape[2] * up_y + y0 + y1, images.shape[3] * up_x + x0 + x1
    if padded[0] < taps.shape[0] or padded[1] < taps.shape[1]:
        raise ValueError(
            f'filter of {tuple(taps.shape)} taps is larger than the padded image, which is '
            f'{padded}; pad more, or give larger images'
        )
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
    options: dict[str, Any] = {'stride': (up[1], up[0]), 'groups': channels}
    if before == after and max(before) <= 0:
        return F.conv_transpose2d(images, weight, padding=(-before[0], -before[1]), **options)
    output = F.conv_transpose2d(images, weight, **options)
    return F.pad(output, (before[1], after[1], before[0], after[0]))
