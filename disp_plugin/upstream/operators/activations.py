"""Biases and activations of the StyleGANs, of torch's functions alone.

A bias and a positive gain are one pass over the features, where mmcv's plain versions take two.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from disp_plugin.upstream.operators.resampling import upfirdn2d
from disp_plugin.upstream.patch import host_module

_DEFAULT_GAINS = {'linear': 1.0, 'relu': 2**0.5, 'lrelu': 2**0.5}


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
    # in place, as the sum is nobody else's: one feature map less is kept for the backward pass
    is_ours = output is not input
    if act == 'lrelu':
        slope = 0.2 if alpha is None else alpha
        output = F.leaky_relu(output, slope, inplace=is_ours and slope >= 0)
    elif act == 'relu':
        output = F.relu(output, inplace=is_ours)
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
