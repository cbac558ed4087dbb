"""The StyleGANs' operators against their definitions in float64 and finite differences."""

import sys
import warnings

import mmcv.ops
import numpy as np
import pytest
import torch
from mmagic.models.editors import stylegan1, stylegan2, stylegan3
from mmcv.ops import fused_bias_leakyrelu as patched_leakyrelu
from torch.autograd import gradcheck, gradgradcheck

from disp_plugin.upstream import mmcv_operators, operators
from disp_plugin.upstream.operators import (
    bias_act,
    filtered_lrelu,
    fused_bias_leakyrelu,
    upfirdn2d,
)

without_compiled_mmcv = pytest.mark.skipif(
    mmcv_operators.is_compiled(), reason='a compiled mmcv keeps its own operators'
)


FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


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


class TestBiasAct:
    @pytest.mark.parametrize('dtype', FLOATS, ids=str)
    @pytest.mark.parametrize('act', ACTIVATIONS)
    @pytest.mark.parametrize(
        'options',
        [{}, {'dim': 0}, {'gain': 0.7, 'clamp': 0.5}, {'alpha': 0.4, 'gain': -2.0}],
        ids=str,
    )
    @pytest.mark.parametrize('with_bias', [True, False])
    def test_every_type_gives_the_definition_in_its_own_type(self, act, dtype, options, with_bias):
        features = torch.randn(3, 5, 2).to(dtype)
        dim = options.get('dim', 1)
        bias = torch.randn(features.shape[dim]) if with_bias else None  # float32 beside half
        with torch.autocast('cpu', dtype=torch.bfloat16):
            output = bias_act(features, bias, act=act, **options)
        assert output.dtype == dtype
        function, default_gain = ACTIVATIONS[act]
        total = features.double().numpy()
        if with_bias:
            total = total + bias.to(dtype).double().numpy().reshape([-1] + [1] * (2 - dim))
        expected = function(total, options.get('alpha', 0.2)) * options.get('gain', default_gain)
        if 'clamp' in options:
            expected = expected.clip(-options['clamp'], options['clamp'])
        eps = torch.finfo(dtype).eps
        expected = torch.from_numpy(expected)
        torch.testing.assert_close(output.double(), expected, rtol=2 * eps, atol=8 * eps)

    @pytest.mark.parametrize('act', ACTIVATIONS)
    def test_first_and_second_derivatives_are_right(self, act):
        features = torch.randn(2, 3, 2, dtype=torch.float64).requires_grad_()
        bias = torch.randn(3, dtype=torch.float64).requires_grad_()
        for clamp in (None, 0.9):

            def function(x, b, clamp=clamp):
                return bias_act(x, b, act=act, clamp=clamp)

            assert gradcheck(function, (features, bias))
            # squared: the second derivative of a straight line is 0 whatever the code does
            assert gradgradcheck(lambda x, b: function(x, b).square(), (features, bias))

    @pytest.mark.parametrize('act', ACTIVATIONS)
    def test_it_equals_the_plain_version_of_mmcv(self, act):
        features, bias = torch.randn(4, 6, 3, 3), torch.randn(6)
        reference = sys.modules['mmcv.ops.bias_act']._bias_act_ref(features, bias, act=act)
        torch.testing.assert_close(bias_act(features, bias, act=act), reference)

    @pytest.mark.parametrize('shape', [(4, 3), (2, 3, 5), (2, 3, 4, 4)], ids=str)
    @pytest.mark.parametrize('dtype', FLOATS, ids=str)
    def test_fused_leakyrelu_is_its_definition_for_features_of_any_rank(self, shape, dtype):
        features, bias = torch.randn(shape).to(dtype), torch.randn(3)
        output = fused_bias_leakyrelu(features, bias, 0.1, 1.7)
        assert output.dtype == dtype
        total = (features.double().movedim(1, -1) + bias.to(dtype).double()).movedim(-1, 1)
        expected = torch.where(total > 0, total, 0.1 * total) * 1.7
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(output.double(), expected, rtol=2 * eps, atol=8 * eps)

    def test_fused_leakyrelu_is_twice_differentiable_in_features_and_bias(self):
        features = torch.randn(2, 3, 2, 2, dtype=torch.float64).requires_grad_()
        bias = torch.randn(3, dtype=torch.float64).requires_grad_()
        assert gradcheck(fused_bias_leakyrelu, (features, bias))
        assert gradgradcheck(lambda x, b: fused_bias_leakyrelu(x, b).square(), (features, bias))
        reference = sys.modules['mmcv.ops.fused_bias_leakyrelu'].bias_leakyrelu_ref
        torch.testing.assert_close(fused_bias_leakyrelu(features, bias), reference(features, bias))

    @pytest.mark.parametrize('bias', [None, torch.zeros(3)])
    @pytest.mark.parametrize('alpha', [0.2, -0.3])
    def test_the_input_is_left_as_it_is(self, bias, alpha):
        features = torch.randn(2, 3).requires_grad_()
        kept = features.detach().clone()
        output = bias_act(features, bias, act='lrelu', alpha=alpha, gain=1)
        assert torch.equal(features, kept)
        output.sum().backward()
        torch.testing.assert_close(features.grad, torch.where(kept > 0, 1.0, alpha))

    @pytest.mark.parametrize(
        ('change', 'message'),
        [
            (dict(bias=torch.zeros(4)), r'one number for each of 3 channels.*shape \(4,\)'),
            (dict(bias=torch.zeros(3), dim=4), r'dim must be in \[0, 4\).*got 4'),
            (dict(clamp=-1.0), 'clamp must not be negative, got -1.0'),
            (dict(act='gelu'), "act must be one of linear, relu.*got 'gelu'"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, change, message):
        with pytest.raises(ValueError, match=message):
            bias_act(torch.zeros(2, 3, 4, 4), **change)


class TestFilteredLrelu:
    @pytest.fixture
    def arguments(self):
        # as a layer of StyleGAN3 calls it, with different lengths before and after
        return dict(
            filter_up=torch.randn(6),
            filter_down=torch.randn(4),
            up=2,
            down=2,
            padding=(4, 3, 5, 2),
            gain=1.5,
            slope=0.1,
            clamp=1.2,
        )

    @pytest.mark.parametrize('dtype', FLOATS, ids=str)
    @pytest.mark.parametrize('flip_filter', [False, True])
    def test_every_type_gives_the_definition_in_its_own_type(
        self, arguments, dtype, flip_filter, define_upfirdn
    ):
        images, bias = torch.randn(2, 3, 6, 5).to(dtype), torch.randn(3).to(dtype)
        output = filtered_lrelu(images, bias=bias, flip_filter=flip_filter, **arguments)
        assert output.dtype == dtype
        total = images.double() + bias.double().reshape(-1, 1, 1)
        large = define_upfirdn(
            total, arguments['filter_up'], 2, 1, arguments['padding'], flip_filter, 4
        )
        large = torch.where(large > 0, large, 0.1 * large).mul(1.5).clamp(-1.2, 1.2)
        expected = define_upfirdn(large, arguments['filter_down'], 1, 2, 0, flip_filter, 1)
        eps = torch.finfo(dtype).eps
        largest = float(total.abs().max()) * 30  # what the first filter makes of it, and rounds
        torch.testing.assert_close(output.double(), expected, rtol=eps, atol=8 * eps * largest)

    def test_derivatives_are_right_and_mmcv_agrees(self, arguments):
        images = torch.randn(1, 2, 4, 4, dtype=torch.float64).requires_grad_()
        bias = torch.randn(2, dtype=torch.float64).requires_grad_()

        def function(x, b):
            return filtered_lrelu(x, bias=b, **arguments)

        assert gradcheck(function, (images, bias))
        assert gradgradcheck(lambda x, b: function(x, b).square(), (images, bias))
        reference = sys.modules['mmcv.ops.filtered_lrelu']._filtered_lrelu_ref
        torch.testing.assert_close(
            function(images.float(), bias.float()),
            reference(images.float(), bias=bias.float(), **arguments),
        )

    def test_without_filters_only_the_activation_is_left(self):
        images = torch.randn(1, 2, 3, 3)
        expected = bias_act(images, act='lrelu')
        torch.testing.assert_close(filtered_lrelu(images), expected)


class TestGraphs:
    CALLS = {
        'leakyrelu': lambda x: fused_bias_leakyrelu(x, torch.ones(3)),
        'up': lambda x: upfirdn2d(x, torch.ones(4, 4), up=2, padding=(2, 1)),
        'down': lambda x: upfirdn2d(x, torch.ones(4), down=2, padding=(1, 1), gain=2),
        'filtered': lambda x: filtered_lrelu(x, torch.ones(4), torch.ones(4), up=2, down=2),
        'swish': lambda x: bias_act(x, act='swish'),
    }

    @pytest.mark.slow
    @pytest.mark.parametrize('call', CALLS)
    def test_one_graph_holds_each_operator_under_autocast_too(self, call):
        function = self.CALLS[call]
        compiled = torch.compile(function, backend='aot_eager', fullgraph=True)
        images = torch.randn(2, 3, 8, 8)
        torch.testing.assert_close(compiled(images), function(images))
        with torch.autocast('cpu', dtype=torch.bfloat16):
            torch.testing.assert_close(compiled(images), function(images))
        torch._dynamo.reset()

    @pytest.mark.parametrize('call', CALLS)
    def test_a_trace_is_right_for_other_batch_sizes(self, call):
        function = self.CALLS[call]
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            traced = torch.jit.trace(function, torch.randn(2, 3, 8, 8))
        images = torch.randn(5, 3, 8, 8)
        torch.testing.assert_close(traced(images), function(images))


class TestNames:
    @without_compiled_mmcv
    def test_whoever_imports_an_operator_by_name_gets_the_pure_one(self):
        for name in ('bias_act', 'filtered_lrelu', 'fused_bias_leakyrelu', 'upfirdn2d'):
            pure = getattr(operators, name)
            assert getattr(mmcv.ops, name) is pure
            assert getattr(sys.modules[f'mmcv.ops.{name}'], name) is pure
        assert patched_leakyrelu is fused_bias_leakyrelu
        assert stylegan1.stylegan1_modules.upfirdn2d is upfirdn2d
        assert stylegan1.stylegan1_modules.fused_bias_leakyrelu is fused_bias_leakyrelu
        assert stylegan2.stylegan2_modules.upfirdn2d is upfirdn2d
        assert stylegan2.ada.upfirdn2d.upfirdn2d is upfirdn2d
        assert stylegan3.stylegan3_modules.filtered_lrelu is filtered_lrelu
        assert stylegan3.stylegan3_modules.bias_act is bias_act

    @pytest.mark.skipif(not mmcv_operators.is_compiled(), reason='needs a compiled mmcv')
    def test_a_compiled_mmcv_keeps_its_operators(self):
        for patch in mmcv_operators.PATCHES:
            if patch.name.startswith('pure-operators'):
                assert patch.state == 'not needed'
        assert mmcv.ops.upfirdn2d is not upfirdn2d
        assert stylegan2.stylegan2_modules.upfirdn2d.__module__ == 'mmcv.ops.upfirdn2d'

    @without_compiled_mmcv
    def test_layers_that_are_built_on_an_operator_use_the_pure_one(self):
        layer = mmcv.ops.FusedBiasLeakyReLU(3)
        features = torch.randn(2, 3, 4, 4).half()
        assert layer(features).dtype == torch.float16
        blurred = mmcv.ops.filter2d(features, torch.ones(3).half())
        assert (blurred.dtype, blurred.shape) == (torch.float16, features.shape)

    def test_the_convolutions_of_mmcv_are_those_of_torch(self):
        for convolutions in (
            mmcv.ops,
            stylegan2.stylegan2_modules,
            sys.modules['mmcv.ops.conv2d_gradfix'],
            stylegan3.stylegan3_modules.conv2d_gradfix,
        ):
            assert convolutions.conv2d is torch.nn.functional.conv2d
            assert convolutions.conv_transpose2d is torch.nn.functional.conv_transpose2d
        assert stylegan2.ada.augment.conv2d is torch.nn.functional.conv2d
        assert sys.modules['mmcv.ops.upfirdn2d'].conv2d is torch.nn.functional.conv2d


FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class TestUpfirdn2d:
    @pytest.mark.parametrize('dtype', FLOATS, ids=str)
    @pytest.mark.parametrize('is_filter_alike', [True, False])
    def test_every_type_gives_the_definition_in_its_own_type(
        self, resampling, dtype, is_filter_alike, define_upfirdn
    ):
        images, arguments = resampling
        images = images.to(dtype)
        if is_filter_alike and arguments['filter'] is not None:
            arguments['filter'] = arguments['filter'].to(dtype)
        output = upfirdn2d(images, **arguments)
        assert output.dtype == dtype
        expected = define_upfirdn(images, **arguments)
        largest = max(float(expected.abs().max()), 1.0)
        # computed at least in float32, and rounded once
        computed = torch.finfo(torch.promote_types(dtype, torch.float32)).eps
        tolerance = dict(rtol=0.51 * torch.finfo(dtype).eps, atol=8 * computed * largest)
        torch.testing.assert_close(output.double(), expected, **tolerance)

    @pytest.mark.parametrize('channels', [1, 20])
    def test_many_channels_take_the_same_way_as_few(self, channels, define_upfirdn):
        images, taps = torch.randn(2, channels, 6, 5), torch.randn(4, 3)
        for options in (dict(up=2, padding=(2, 1)), dict(down=2, padding=1)):
            output = upfirdn2d(images, taps, **options)
            expected = define_upfirdn(images, taps, **options)
            torch.testing.assert_close(output.double(), expected, rtol=1e-4, atol=1e-5)

    def test_it_equals_the_plain_version_of_mmcv(self, resampling):
        images, arguments = resampling
        if arguments['gain'] < 0:
            pytest.skip("mmcv's plain version takes the root of the gain")
        reference = sys.modules['mmcv.ops.upfirdn2d']._upfirdn2d_ref
        output = upfirdn2d(images, **arguments)
        torch.testing.assert_close(output, reference(images, **arguments), rtol=1e-4, atol=1e-5)

    def test_first_and_second_derivatives_are_right(self, resampling):
        images, arguments = resampling
        images = images[:1, :2, :4, :4].double().requires_grad_()
        assert gradcheck(lambda x: upfirdn2d(x, **arguments), images)
        # squared: the second derivative of a straight line is 0 whatever the code does
        assert gradgradcheck(lambda x: upfirdn2d(x, **arguments).square(), images[:, :1])

    def test_a_filter_gets_no_gradient(self):
        taps = torch.ones(2, requires_grad=True)
        assert not upfirdn2d(torch.zeros(1, 1, 4, 4), taps).requires_grad

    @pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
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
            torch.testing.assert_close(one, other)

    @pytest.mark.parametrize(
        ('change', 'message'),
        [
            (dict(input=torch.zeros(3, 4, 4)), r'input must be images \(N, C, H, W\).*\(3, 4, 4\)'),
            (dict(up=0), 'up must be a number or a pair.*got 0'),
            (dict(down=(1, 2, 3)), r'down must be.*got \(1, 2, 3\)'),
            (dict(padding=(1, 2, 3)), r'padding must be 1, 2 or 4 numbers, got \(1, 2, 3\)'),
            (dict(filter=torch.zeros(1, 1, 1)), r'filter must have 1 or 2 dimensions.*\(1, 1, 1\)'),
            (dict(padding=-1), r'filter of \(4, 4\) taps is larger.*which is \(2, 2\)'),
        ],
    )
    def test_what_does_not_fit_is_refused(self, change, message):
        arguments = dict(input=torch.zeros(1, 1, 4, 4), filter=torch.zeros(4, 4))
        with pytest.raises(ValueError, match=message):
            upfirdn2d(**{**arguments, **change})


FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
class TestCuda:
    @pytest.fixture(autouse=True)
    def exact_convolutions(self):
        with torch.backends.cudnn.flags(allow_tf32=False):
            yield

    @pytest.mark.parametrize('dtype', FLOATS, ids=str)
    def test_resampling_on_the_device_is_the_definition(self, resampling, dtype, define_upfirdn):
        images, arguments = resampling
        images = images.to(dtype)
        expected = define_upfirdn(images, **arguments)
        if arguments['filter'] is not None:
            arguments['filter'] = arguments['filter'].cuda()
        output = upfirdn2d(images.cuda(), **arguments)
        assert output.dtype == dtype
        largest = max(float(expected.abs().max()), 1.0)
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(
            output.cpu().double(), expected, rtol=eps, atol=16 * eps * largest
        )

    @pytest.mark.skipif(not mmcv_operators.is_compiled(), reason='needs a compiled mmcv')
    @pytest.mark.parametrize('dtype', [torch.float16, torch.float32], ids=str)
    def test_outputs_and_derivatives_are_those_of_the_compiled_operators(self, dtype):
        images = torch.randn(4, 8, 16, 16, device='cuda').to(dtype)
        bias = torch.randn(8, device='cuda').to(dtype)
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device='cuda') / 8
        matrix = taps[:, None] * taps
        calls = {
            'fused_bias_leakyrelu': lambda f, x: f(x, bias),
            'upfirdn2d': lambda f, x: f(x, matrix, up=2, padding=(2, 1, 2, 1), gain=4),
            'bias_act': lambda f, x: f(x, bias, act='lrelu', clamp=256),
            'filtered_lrelu': lambda f, x: f(
                x, taps, taps, bias, up=2, down=2, padding=(4, 4), clamp=256
            ),
        }
        for name, call in calls.items():
            found = []
            for function in (getattr(operators, name), getattr(mmcv.ops, name)):
                leaf = images.clone().requires_grad_()
                output = call(function, leaf)
                (grad,) = torch.autograd.grad(output.square().sum(), leaf, create_graph=True)
                (second,) = torch.autograd.grad(grad.square().sum(), leaf)
                found.append((output, grad, second))
            tolerance = 20 * torch.finfo(dtype).eps
            for one, other in zip(*found, strict=True):
                assert one.dtype == other.dtype, name
                scale = float(other.abs().max())
                torch.testing.assert_close(one, other, rtol=0, atol=tolerance * scale, msg=name)

    def test_autocast_changes_no_type(self):
        images = torch.randn(2, 3, 8, 8, device='cuda')
        taps = torch.ones(4, 4, device='cuda')
        for dtype in FLOATS:
            with torch.autocast('cuda', dtype=torch.float16):
                assert upfirdn2d(images.to(dtype), taps).dtype == dtype
                # softplus is one of the functions that autocast widens
                assert operators.bias_act(images.to(dtype), act='softplus').dtype == dtype
