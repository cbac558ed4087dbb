"""upfirdn2d against its definition in float64, mmcv's plain version and finite differences."""

import sys

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from disp_plugin.upstream.operators import upfirdn2d

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
