"""Who gets which operator, and networks in half precision."""

import sys

import mmcv.ops
import pytest
import torch
from mmagic.models.editors import stylegan1, stylegan2, stylegan3
from mmagic.models.losses import gen_path_regularizer, r1_gradient_penalty_loss
from mmagic.registry import MODELS

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


class TestNames:
    @without_compiled_mmcv
    def test_whoever_imports_an_operator_by_name_gets_the_pure_one(self):
        for name in ('bias_act', 'filtered_lrelu', 'fused_bias_leakyrelu', 'upfirdn2d'):
            pure = getattr(operators, name)
            assert getattr(mmcv.ops, name) is pure
            assert getattr(sys.modules[f'mmcv.ops.{name}'], name) is pure
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


@without_compiled_mmcv
def test_an_operator_of_the_stand_in_names_the_package_that_has_it():
    boxes, scores = torch.rand(3, 4), torch.rand(3)
    with pytest.raises(NotImplementedError, match=r"'nms'.*pip install \"mmcv>=2.0,<2.2\""):
        mmcv.ops.nms(boxes, scores, 0.5)


def build_pair(config):
    """One network in single precision, and one with the same weights and fp16 scales."""
    torch.manual_seed(0)
    single = MODELS.build(config)
    half = MODELS.build(dict(config, num_fp16_scales=2))
    half.load_state_dict(single.state_dict())
    types = []
    for module in half.modules():
        if type(module).__name__ == 'Blur':
            module.register_forward_hook(lambda m, args, output: types.append(output.dtype))
    return single, half, types


def compare(one, other):
    """Compare losses or images as a whole, and gradients by their common direction."""
    (value, module), (expected, reference) = one, other
    # bfloat16 has 8 bits, and rounds in every layer
    assert (value - expected).norm() < 0.1 * expected.norm()
    grads = [
        torch.cat([p.grad.flatten() for p in part.parameters() if p.grad is not None])
        for part in (module, reference)
    ]
    assert torch.isfinite(grads[0]).all()
    assert torch.cosine_similarity(*grads, dim=0) > 0.99


def run(network, function):
    torch.manual_seed(1)
    network.zero_grad()
    value = function(network)
    value.mean().backward()
    return value.detach(), network


@pytest.mark.slow
def test_the_generator_and_its_path_regularizer_work():
    config = dict(type='StyleGAN2Generator', out_size=8, style_channels=16, num_mlps=1)
    single, half, types = build_pair(config)
    # In half precision mmagic divides a style by its largest number, here 1, before it modulates:
    # stylegan2_modules.py:238. Other styles give other images than in single precision.
    styles = torch.rand(2, 16) * 2 - 1
    styles[:, 3] = 1

    def generate(network):
        return network([styles], input_is_latent=True, randomize_noise=False)

    compare(run(half, generate), run(single, generate))
    assert set(types) <= {torch.float16, torch.bfloat16} and types
    penalty, _ = run(
        half, lambda network: gen_path_regularizer(network, 2, torch.tensor(0.0), 0.01, 1)[0]
    )
    assert penalty > 0
    assert all(torch.isfinite(p.grad).all() for p in half.parameters() if p.grad is not None)


@pytest.mark.slow
def test_the_discriminator_and_its_gradient_penalty_work():
    single, half, types = build_pair(dict(type='StyleGAN2Discriminator', in_size=8))
    images = torch.randn(4, 3, 8, 8)
    for function in (
        lambda network: network(images),
        lambda network: r1_gradient_penalty_loss(network, images, norm_mode='HWC'),
    ):
        compare(run(half, function), run(single, function))
    assert set(types) <= {torch.float16, torch.bfloat16} and types


def test_a_function_for_float32_filters_takes_any_once_wrapped():
    _upfirdn2d_ref = sys.modules['mmcv.ops.upfirdn2d']._upfirdn2d_ref
    images, taps = torch.rand(2, 3, 6, 6), torch.rand(3, 3)
    resample = mmcv_operators.widen_filter(_upfirdn2d_ref)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        narrow = taps.to(dtype)
        with pytest.raises(AssertionError):
            _upfirdn2d_ref(images, narrow, padding=1)
        expected = _upfirdn2d_ref(images, narrow.float(), padding=1)
        assert torch.equal(resample(images, narrow, padding=1), expected)
    assert torch.equal(resample(images, None, up=2), _upfirdn2d_ref(images, None, up=2))
