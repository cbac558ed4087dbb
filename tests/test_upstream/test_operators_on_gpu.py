"""The StyleGAN operators on a CUDA device, against their definition and mmcv's compiled code."""

import mmcv.ops
import pytest
import torch

from disp_plugin.upstream import mmcv_ext, operators
from disp_plugin.upstream.operators import upfirdn2d

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

    @pytest.mark.skipif(not mmcv_ext.is_compiled(), reason='needs a compiled mmcv')
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
