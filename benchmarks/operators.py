"""Time the StyleGAN operators in PyTorch alone against mmcv's, call by call in turns.

On a CPU mmcv's plain versions stand beside ours, on a CUDA device its compiled operators if the
installed mmcv has them, and the plain ones if not. Each pair runs in one process, in an order that
alternates; the median of the ratios (ours to mmcv's) is what counts. 'forward' is without
gradients, 'backward' adds the first derivative, 'double' that of a gradient penalty.
"""

import argparse
import json
import statistics
import sys
import time

import torch

from disp_plugin.upstream import apply_patches, mmcv_operators, operators

apply_patches()

import mmcv.ops  # noqa: E402, F401 (its modules are looked up below)

MODES = ('forward', 'backward', 'double')
PLAIN = {
    'upfirdn2d': '_upfirdn2d_ref',
    'bias_act': '_bias_act_ref',
    'filtered_lrelu': '_filtered_lrelu_ref',
    'fused_bias_leakyrelu': 'bias_leakyrelu_ref',
}


def make_calls(channels, device, dtype):
    """Name the calls of StyleGAN2, ADA and StyleGAN3: (operator, arguments after the images)."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device=device) / 8
    long_taps = torch.hann_window(14, device=device)[1:-1]
    long_taps = long_taps / long_taps.sum()
    bias = torch.randn(channels, device=device, dtype=dtype)
    matrix = taps[:, None] * taps
    return {
        'activation': ('fused_bias_leakyrelu', dict(bias=bias)),
        'activation, clamped': ('bias_act', dict(bias=bias, act='lrelu', clamp=256.0)),
        'tanh': ('bias_act', dict(bias=bias, act='tanh')),
        'blur': ('upfirdn2d', dict(filter=matrix, padding=(1, 1))),
        'blur before a convolution': ('upfirdn2d', dict(filter=matrix, padding=(2, 2))),
        'up': ('upfirdn2d', dict(filter=matrix, up=2, padding=(2, 1, 2, 1), gain=4)),
        'down': ('upfirdn2d', dict(filter=matrix, down=2, padding=(1, 1))),
        'up, 12 taps (ADA)': ('upfirdn2d', dict(filter=long_taps, up=2, padding=(6, 5), gain=4)),
        'down, 12 taps (ADA)': ('upfirdn2d', dict(filter=long_taps, down=2, padding=(5, 5))),
        'filtered (StyleGAN3)': (
            'filtered_lrelu',
            dict(
                filter_up=long_taps,
                filter_down=long_taps,
                bias=bias,
                up=2,
                down=2,
                padding=(11, 10),
                clamp=256.0,
            ),
        ),
    }


def find_theirs(name, device):
    """Find mmcv's function of that name: compiled on CUDA where there is one, else plain."""
    module = sys.modules[f'mmcv.ops.{name}']
    if mmcv_operators.is_compiled() and device.startswith('cuda'):
        return getattr(module, name)
    for part in PLAIN:  # a plain version may call others by their names in its module
        if hasattr(module, part):
            setattr(module, part, getattr(sys.modules[f'mmcv.ops.{part}'], PLAIN[part]))
    return getattr(module, PLAIN[name])


def time_call(function, images, arguments, mode):
    """Take the time of one call, derivatives included as ``mode`` says."""
    synchronize = torch.cuda.synchronize if images.is_cuda else lambda: None
    leaf = images.detach().requires_grad_(mode != 'forward')
    synchronize()
    start = time.perf_counter()
    with torch.set_grad_enabled(mode != 'forward'):
        output = function(leaf, **arguments)
        if mode != 'forward':
            (grad,) = torch.autograd.grad(
                output, leaf, output.detach().requires_grad_(), create_graph=mode == 'double'
            )
        if mode == 'double':
            grad.square().sum().backward()
    synchronize()
    return time.perf_counter() - start


def compare(name, arguments, images, mode, repeats):
    """Time ours and mmcv's in turns; milliseconds of both and the median ratio."""
    functions = getattr(operators, name), find_theirs(name, str(images.device))
    times = [[], []]
    for repeat in range(repeats + 2):
        for which in (0, 1) if repeat % 2 else (1, 0):
            times[which].append(time_call(functions[which], images, arguments, mode))
    ours, theirs = times[0][2:], times[1][2:]  # the first two are warm-up
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    return [round(statistics.median(part) * 1e3, 3) for part in (ours, theirs)] + [round(ratio, 3)]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--batch-size', type=int, default=4)
    parser.add_argument('--channels', type=int, default=64)
    parser.add_argument('--size', type=int, default=64)
    parser.add_argument('--dtype', choices=['float32', 'float16'], default='float32')
    parser.add_argument('--repeats', type=int, default=15)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = parser.parse_args(argv)
    dtype = getattr(torch, args.dtype)
    if dtype == torch.float16 and not (
        mmcv_operators.is_compiled() and args.device.startswith('cuda')
    ):
        parser.error("mmcv's plain operators refuse float16; compare them in float32")
    shape = (args.batch_size, args.channels, args.size, args.size)
    images = torch.randn(shape, device=args.device).to(dtype)
    result = {**vars(args), 'torch': torch.__version__, 'threads': torch.get_num_threads()}
    result['columns'] = ['ms_ours', 'ms_mmcv', 'ratio']
    for call, (name, arguments) in make_calls(args.channels, args.device, dtype).items():
        for mode in MODES:
            result[f'{call}: {mode}'] = compare(name, arguments, images, mode, args.repeats)
    print(',\n'.join(json.dumps({name: value})[1:-1] for name, value in result.items()).join('{}'))


if __name__ == '__main__':
    main()
