"""The StyleGANs' operators against their definitions in float64 and finite differences."""

import sys
import warnings

import mmcv.ops
import numpy as np
import pytest
import scipy.signal
import torch
from torch.autograd import gradcheck, gradgradcheck

from disp_plugin.upstream import mmcv_operators, operators
from disp_plugin.upstream.operators import (
    bias_act,
    filtered_lrelu,
    fused_bias_leakyrelu,
    upfirdn2d,
)
from tests.numerics import assert_close_to_scale

HALVES = (torch.float16, torch.bfloat16)
FLOATS = (*HALVES, torch.float32, torch.float64)
each_type = pytest.mark.parametrize('dtype', FLOATS, ids=str)
needs_cuda = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device'),
]
each_device = pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=needs_cuda)])

# act -> the function in float64 and mmcv's default gain
ACTIVATIONS = {
    'linear': (lambda x, alpha: x, 1),
    'relu': (lambda x, alpha: np.maximum(x, 0), 2**0.5),
    'lrelu': (lambda x, alpha: np.where(x > 0, x, alpha * x), 2**0.5),
    'tanh': (lambda x, alpha: np.tanh(x), 1),
    'sigmoid': (lambda x, alpha: 1 / (1 + np.exp(-x)), 1),
    'elu': (lambda x, alpha: np.where(x > 0, x, np.expm1(x)), 1),
    'selu': (
        lambda x, alpha: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
        1,
    ),
    'softplus': (lambda x, alpha: np.log1p(np.exp(x)), 1),
    'swish': (lambda x, alpha: x / (1 + np.exp(-x)), 2**0.5),
}

# taps (fh, fw) or (f,), up, down, padding, flip_filter, gain; up and down are (x, y)
RESAMPLINGS = {
    'blur': ((4, 4), 1, 1, (1, 2), False, 1),
    'stylegan2 up': ((4, 4), 2, 1, (2, 1, 2, 1), False, 4.0),
    'stylegan2 down': ((4, 4), 1, 2, (1, 1), False, 1),
    'flipped': ((3, 4), 1, 1, 2, True, 0.5),
    'flipped up': ((3, 4), (2, 3), 1, (3, 1, 0, 2), True, 0.5),
    'up and down': ((3, 5), (3, 2), (2, 3), (4, 3, 2, 5), False, 1.5),
    'cropped': ((2, 3), 1, 1, (-1, 2, 1, -2), False, 1),
    'up, cropped': ((3, 3), 2, 1, (-3, 0, 1, -1), False, 1),
    'up, padded far': ((2, 2), (2, 1), 1, (5, 6, 3, 0), False, 1),
    'separable': ((5,), 1, 1, (2, 1, 0, 3), False, 2.0),
    'separable up': ((6,), (2, 3), 1, (4, 3), False, 6.0),
    'separable down': ((4,), 1, (3, 2), (-1, 2, 2, 1), True, 1),
    'negative gain': ((3,), 1, 1, 1, False, -2.0),
    'no filter': (None, (2, 1), (1, 2), (1, 0, 0, 2), False, 3.0),
}


def define_resampling(images, filter, up=1, down=1, padding=0, flip_filter=False, gain=1):
    """The definition, in float64: insert zeros, pad or crop, convolve, throw away."""
    images = images.double().numpy()
    taps = np.ones((1, 1)) if filter is None else filter.double().numpy()
    taps = np.outer(taps, taps) if taps.ndim == 1 else taps
    taps = taps[::-1, ::-1] if flip_filter else taps
    up_x, up_y = np.broadcast_to(up, 2)
    down_x, down_y = np.broadcast_to(down, 2)
    padding = np.broadcast_to(padding, 4) if np.ndim(padding) == 0 else padding
    x0, x1, y0, y1 = padding if len(padding) == 4 else np.repeat(padding, 2)
    filled = np.zeros((*images.shape[:2], images.shape[2] * up_y, images.shape[3] * up_x))
    filled[:, :, ::up_y, ::up_x] = images
    before_and_after = [(0, 0), (0, 0), (max(y0, 0), max(y1, 0)), (max(x0, 0), max(x1, 0))]
    filled = np.pad(filled, before_and_after)
    height, width = filled.shape[2:]
    filled = filled[:, :, max(-y0, 0) : height + min(y1, 0), max(-x0, 0) : width + min(x1, 0)]
    planes = [
        [scipy.signal.convolve2d(plane, taps * gain, mode='valid') for plane in image]
        for image in filled
    ]
    return torch.from_numpy(np.array(planes)[:, :, ::down_y, ::down_x].copy())


def check_derivatives(function, *inputs):
    """Compare with finite differences, to the second order."""
    assert gradcheck(function, inputs)
    # squared: the second derivative of a straight line is 0 whatever the code does
    assert gradgradcheck(lambda *x: function(*x).square(), inputs)


@pytest.fixture(params=RESAMPLINGS)
def resampling(request):
    """Images, and the other arguments of upfirdn2d by name."""
    shape, up, down, padding, flip_filter, gain = RESAMPLINGS[request.param]
    taps = None if shape is None else torch.randn(shape)
    arguments = dict(up=up, down=down, padding=padding, flip_filter=flip_filter, gain=gain)
    return torch.randn(2, 3, 7, 6), dict(arguments, filter=taps)


class TestUpfirdn2d:
    @each_device
    @each_type
    @pytest.mark.parametrize('is_filter_alike', [True, False])
    def test_every_type_gives_the_definition_in_its_own_type(
        self, resampling, dtype, is_filter_alike, device
    ):
        images, arguments = resampling
        images, taps = images.to(dtype), arguments.pop('filter')
        if taps is not None and is_filter_alike:
            taps = taps.to(dtype)
        inputs = images.to(device), taps if taps is None else taps.to(device)
        with torch.backends.cudnn.flags(allow_tf32=False):
            output = upfirdn2d(*inputs, **arguments)
        assert output.dtype == dtype
        # a CPU computes in float32 and rounds once: one eps of the scale is two such roundings
        num_terms = 1 if dtype in HALVES and device == 'cpu' else 400
        expected = define_resampling(images, taps, **arguments)
        assert_close_to_scale(output.cpu(), expected, num_terms, dtype)

    def test_many_channels_take_the_same_way_as_few(self):
        images, taps = torch.randn(2, 20, 6, 5), torch.randn(4, 3)
        for options in (dict(up=2, padding=(2, 1)), dict(down=2, padding=1)):
            expected = define_resampling(images, taps, **options)
            assert_close_to_scale(upfirdn2d(images, taps, **options), expected, 400)

    def test_derivatives_are_right_and_a_filter_gets_none(self, resampling):
        images, arguments = resampling
        images = images[:1, :1, :4, :4].double().requires_grad_()
        check_derivatives(lambda x: upfirdn2d(x, **arguments), images)
        if arguments['filter'] is not None:
            arguments['filter'].requires_grad_()
        assert not upfirdn2d(images.detach(), **arguments).requires_grad

    @pytest.mark.parametrize('dtype', HALVES, ids=str)
    def test_autocast_changes_neither_output_nor_derivatives(self, resampling, dtype):
        images, arguments = resampling
        images = images.requires_grad_()

        def differentiate():
            output = upfirdn2d(images, **arguments)
            (grad,) = torch.autograd.grad(output.square().sum(), images, create_graph=True)
            (second,) = torch.autograd.grad(grad.square().sum(), images)
            return output, grad, second

        expected = differentiate()
        with torch.autocast('cpu', dtype=dtype):
            found = differentiate()
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == torch.float32
            assert_close_to_scale(one, other)


class TestBiasAct:
    @each_device
    @each_type
    @pytest.mark.parametrize('act', ACTIVATIONS)
    @pytest.mark.parametrize('with_bias', [True, False])
    def test_every_type_gives_the_definition_in_its_own_type(self, act, dtype, with_bias, device):
        for options in ({}, {'dim': 0}, {'gain': 0.7, 'clamp': 0.5}, {'alpha': 0.4, 'gain': -2.0}):
            features = torch.randn(3, 5, 2).to(dtype)
            dim = options.get('dim', 1)
            bias = torch.randn(features.shape[dim]) if with_bias else None  # float32 beside half
            with torch.autocast(device, dtype=torch.bfloat16):
                inputs = features.to(device), bias if bias is None else bias.to(device)
                output = bias_act(*inputs, act=act, **options)
            assert output.dtype == dtype
            function, default_gain = ACTIVATIONS[act]
            total = features.double().numpy()
            if with_bias:
                total = total + bias.to(dtype).double().numpy().reshape([-1] + [1] * (2 - dim))
            expected = function(total, options.get('alpha', 0.2))
            expected = expected * options.get('gain', default_gain)
            if 'clamp' in options:
                expected = expected.clip(-options['clamp'], options['clamp'])
            assert_close_to_scale(output.cpu(), torch.from_numpy(expected), 16, dtype)

    @pytest.mark.parametrize('act', ACTIVATIONS)
    @pytest.mark.parametrize('clamp', [None, 0.9])
    def test_derivatives_are_right(self, act, clamp):
        features = torch.randn(2, 3, 2, dtype=torch.float64).requires_grad_()
        bias = torch.randn(3, dtype=torch.float64).requires_grad_()
        check_derivatives(lambda x, b: bias_act(x, b, act=act, clamp=clamp), features, bias)

    @pytest.mark.parametrize('shape', [(4, 3), (2, 3, 5), (2, 3, 4, 4)], ids=str)
    def test_fused_leakyrelu_is_its_definition_for_features_of_any_rank(self, shape):
        features, bias = torch.randn(shape).double(), torch.randn(3).double()
        total = (features.movedim(1, -1) + bias).movedim(-1, 1)
        expected = torch.where(total > 0, total, 0.1 * total) * 1.7
        assert_close_to_scale(fused_bias_leakyrelu(features, bias, 0.1, 1.7), expected, 16)

    @pytest.mark.parametrize('alpha', [0.2, -0.3])
    @pytest.mark.parametrize('bias', [None, torch.zeros(3)], ids=['plain', 'bias'])
    def test_the_input_is_left_as_it_is(self, bias, alpha):
        features = torch.randn(2, 3).requires_grad_()
        kept = features.detach().clone()
        bias_act(features, bias, act='lrelu', alpha=alpha, gain=1).sum().backward()
        assert torch.equal(features, kept)
        torch.testing.assert_close(features.grad, torch.where(kept > 0, 1.0, alpha))


class TestFilteredLrelu:
    # as a layer of StyleGAN3 calls it, with different lengths before and after
    OPTIONS = dict(up=2, down=2, padding=(4, 3, 5, 2), gain=1.5, slope=0.1, clamp=1.2)

    @each_type
    @pytest.mark.parametrize('flip_filter', [False, True])
    def test_every_type_gives_the_definition_in_its_own_type(self, dtype, flip_filter):
        images, bias = torch.randn(2, 3, 6, 5).to(dtype), torch.randn(3).to(dtype)
        up, down = torch.randn(6), torch.randn(4)
        options = dict(self.OPTIONS, bias=bias, flip_filter=flip_filter)
        output = filtered_lrelu(images, up, down, **options)
        assert output.dtype == dtype
        total = images.double() + bias.double().reshape(-1, 1, 1)
        large = define_resampling(total, up, 2, 1, self.OPTIONS['padding'], flip_filter, 4)
        scale = float(large.abs().max())
        large = torch.where(large > 0, large, 0.1 * large).mul(1.5).clamp(-1.2, 1.2)
        expected = define_resampling(large, down, 1, 2, 0, flip_filter, 1)
        # what the first filter makes is rounded before it is clamped and filtered again
        gain = float(down.abs().sum()) ** 2 * 1.5
        bound = 8 * torch.finfo(dtype).eps * max(scale * gain, 1.0)
        torch.testing.assert_close(output.double(), expected, rtol=0, atol=bound)

    def test_derivatives_are_right(self):
        images = torch.randn(1, 2, 4, 4, dtype=torch.float64).requires_grad_()
        bias = torch.randn(2, dtype=torch.float64).requires_grad_()
        filters = torch.randn(6), torch.randn(4)
        check_derivatives(
            lambda x, b: filtered_lrelu(x, *filters, bias=b, **self.OPTIONS), images, bias
        )

    def test_without_filters_only_the_activation_is_left(self):
        images = torch.randn(1, 2, 3, 3)
        assert torch.equal(filtered_lrelu(images), bias_act(images, act='lrelu'))


TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
BIAS = torch.tensor([0.5, -0.3, 0.2])

# operator (and what is special) -> arguments after the images, as the StyleGANs call it
CALLS = {
    'fused_bias_leakyrelu': dict(bias=BIAS),
    'upfirdn2d': dict(filter=torch.outer(TAPS, TAPS), up=2, padding=(2, 1, 2, 1), gain=4),
    'bias_act': dict(bias=BIAS, act='lrelu', clamp=256),
    'bias_act by reference': dict(bias=BIAS, act='swish'),
    'filtered_lrelu': dict(
        filter_up=TAPS, filter_down=TAPS, bias=BIAS, up=2, down=2, padding=(4, 4), clamp=256
    ),
}


@pytest.fixture(params=CALLS)
def call(request):
    """A function (images, module with the operators) of a call as the StyleGANs make it."""

    def run(images, module=operators):
        arguments = {
            key: value.to(images.device) if torch.is_tensor(value) else value
            for key, value in run.arguments.items()
        }
        if module is mmcv.ops and 'bias' in arguments:  # which takes one type only
            arguments['bias'] = arguments['bias'].to(images.dtype)
        return getattr(module, run.operator)(images, **arguments)

    run.arguments, run.operator = CALLS[request.param], request.param.split()[0]
    return run


def test_mmcvs_plain_versions_agree(call):
    images = torch.randn(2, 3, 8, 8)
    names = {'fused_bias_leakyrelu': 'bias_leakyrelu_ref'}
    reference = names.get(call.operator, f'_{call.operator}_ref')
    function = getattr(sys.modules[f'mmcv.ops.{call.operator}'], reference)
    expected = function(images, **call.arguments)
    assert_close_to_scale(call(images), expected)


@pytest.mark.slow
def test_one_graph_holds_each_operator_under_autocast_too(call):
    compiled = torch.compile(call, backend='aot_eager', fullgraph=True)
    images = torch.randn(2, 3, 8, 8)
    assert_close_to_scale(compiled(images), call(images))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert_close_to_scale(compiled(images), call(images))
    torch._dynamo.reset()


def test_a_trace_is_right_for_other_batch_sizes(call):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        traced = torch.jit.trace(call, torch.randn(2, 3, 8, 8))
    images = torch.randn(5, 3, 8, 8)
    assert_close_to_scale(traced(images), call(images))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
@pytest.mark.skipif(not mmcv_operators.is_compiled(), reason='needs a compiled mmcv')
@pytest.mark.parametrize('dtype', [torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize('call', mmcv_operators.PURE_OPERATORS, indirect=True)
def test_outputs_and_derivatives_are_those_of_the_compiled_operators(call, dtype):
    images = torch.randn(4, 3, 16, 16, device='cuda').to(dtype)
    found = []
    for module in (operators, mmcv.ops):
        leaf = images.clone().requires_grad_()
        with torch.backends.cudnn.flags(allow_tf32=False):
            output = call(leaf, module)
            (grad,) = torch.autograd.grad(output.square().sum(), leaf, create_graph=True)
            (second,) = torch.autograd.grad(grad.square().sum(), leaf)
        found.append((output, grad, second))
    for one, other in zip(*found, strict=True):
        assert one.dtype == other.dtype
        assert_close_to_scale(one, other, num_terms=20)
