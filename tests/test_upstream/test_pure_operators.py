"""The other operators of the StyleGANs against their definitions, and who gets which."""

import sys
import warnings

import mmcv.ops
import numpy as np
import pytest
import torch
from mmagic.models.editors import stylegan1, stylegan2, stylegan3
from mmcv.ops import fused_bias_leakyrelu as mended_leakyrelu
from torch.autograd import gradcheck, gradgradcheck

from disp_plugin.upstream import mmcv_ext, operators, pure_operators
from disp_plugin.upstream.operators import (
    bias_act,
    filtered_lrelu,
    fused_bias_leakyrelu,
    upfirdn2d,
)

without_compiled_mmcv = pytest.mark.skipif(
    mmcv_ext.is_compiled(), reason='a compiled mmcv keeps its own operators'
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
        assert mended_leakyrelu is fused_bias_leakyrelu
        assert stylegan1.stylegan1_modules.upfirdn2d is upfirdn2d
        assert stylegan1.stylegan1_modules.fused_bias_leakyrelu is fused_bias_leakyrelu
        assert stylegan2.stylegan2_modules.upfirdn2d is upfirdn2d
        assert stylegan2.ada.upfirdn2d.upfirdn2d is upfirdn2d
        assert stylegan3.stylegan3_modules.filtered_lrelu is filtered_lrelu
        assert stylegan3.stylegan3_modules.bias_act is bias_act

    @pytest.mark.skipif(not mmcv_ext.is_compiled(), reason='needs a compiled mmcv')
    def test_a_compiled_mmcv_keeps_its_operators(self):
        for repair in pure_operators.REPAIRS:
            assert repair.state == 'not needed'
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
