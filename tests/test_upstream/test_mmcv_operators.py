"""Who gets which operator, and networks in half precision."""

import sys

import mmcv.ops
import pytest
import torch
import torch.nn.functional as F
from mmagic.models.editors import stylegan1, stylegan2, stylegan3
from mmagic.models.losses import gen_path_regularizer, r1_gradient_penalty_loss
from mmagic.registry import MODELS

from disp_plugin.upstream import mmcv_operators, operators

without_compiled_mmcv = pytest.mark.skipif(
    mmcv_operators.is_compiled(), reason='a compiled mmcv keeps its own operators'
)


@without_compiled_mmcv
def test_whoever_imports_an_operator_by_name_gets_the_pure_one():
    for name in mmcv_operators.PURE_OPERATORS:
        pure = getattr(operators, name)
        assert getattr(mmcv.ops, name) is getattr(sys.modules[f'mmcv.ops.{name}'], name) is pure
    assert stylegan1.stylegan1_modules.upfirdn2d is operators.upfirdn2d
    assert stylegan1.stylegan1_modules.fused_bias_leakyrelu is operators.fused_bias_leakyrelu
    assert stylegan2.stylegan2_modules.upfirdn2d is operators.upfirdn2d
    assert stylegan2.ada.upfirdn2d.upfirdn2d is operators.upfirdn2d
    assert stylegan3.stylegan3_modules.filtered_lrelu is operators.filtered_lrelu
    assert stylegan3.stylegan3_modules.bias_act is operators.bias_act


@pytest.mark.skipif(not mmcv_operators.is_compiled(), reason='needs a compiled mmcv')
def test_a_compiled_mmcv_keeps_its_operators():
    assert mmcv.ops.bias_act is not operators.bias_act
    for upfirdn2d in (mmcv.ops.upfirdn2d, stylegan2.stylegan2_modules.upfirdn2d):
        assert upfirdn2d.__module__ == 'mmcv.ops.upfirdn2d'


def test_the_convolutions_of_mmcv_are_those_of_torch():
    for convolutions in (
        mmcv.ops,
        stylegan2.stylegan2_modules,
        sys.modules['mmcv.ops.conv2d_gradfix'],
        stylegan3.stylegan3_modules.conv2d_gradfix,
    ):
        assert convolutions.conv2d is F.conv2d
        assert convolutions.conv_transpose2d is F.conv_transpose2d
    assert stylegan2.ada.augment.conv2d is sys.modules['mmcv.ops.upfirdn2d'].conv2d is F.conv2d


@without_compiled_mmcv
def test_an_operator_of_the_stand_in_names_the_package_that_has_it():
    boxes, scores = torch.rand(3, 4), torch.rand(3)
    with pytest.raises(NotImplementedError, match=r"'nms'.*pip install \"mmcv>=2.0,<2.2\""):
        mmcv.ops.nms(boxes, scores, 0.5)


def generate(network):
    # In half precision mmagic divides a style by its largest number, here 1, before it modulates:
    # stylegan2_modules.py:238. Other styles give other images than in single precision.
    styles = torch.rand(2, 16) * 2 - 1
    styles[:, 3] = 1
    return network([styles], input_is_latent=True, randomize_noise=False)


def penalize_paths(network):
    return gen_path_regularizer(network, 2, torch.tensor(0.0), 0.01, 1)[0]


def discriminate(network):
    return network(torch.randn(4, 3, 8, 8))


def penalize_gradients(network):
    return r1_gradient_penalty_loss(network, torch.randn(4, 3, 8, 8), norm_mode='HWC')


GENERATOR = dict(type='StyleGAN2Generator', out_size=8, style_channels=16, num_mlps=1)
DISCRIMINATOR = dict(type='StyleGAN2Discriminator', in_size=8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('config', 'function'),
    [
        (GENERATOR, generate),
        (GENERATOR, penalize_paths),
        (DISCRIMINATOR, discriminate),
        (DISCRIMINATOR, penalize_gradients),
    ],
)
def test_half_precision_gives_the_direction_of_single_precision(config, function):
    single, half = MODELS.build(config), MODELS.build(dict(config, num_fp16_scales=2))
    half.load_state_dict(single.state_dict())
    types, found = set(), []
    for module in half.modules():
        if type(module).__name__ == 'Blur':
            module.register_forward_hook(lambda m, args, output: types.add(output.dtype))
    for network in (half, single):
        torch.manual_seed(1)
        value = function(network)
        value.mean().backward()
        grads = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
        found.append((value.detach(), torch.cat(grads)))
    assert types and types <= {torch.float16, torch.bfloat16}
    (value, grad), (expected, expected_grad) = found
    assert torch.isfinite(grad).all()
    if function is penalize_paths:  # the styles are mapped from noise
        assert value > 0
        return
    # bfloat16 has 8 bits, and rounds in every layer
    assert (value - expected).norm() < 0.1 * expected.norm()
    assert torch.cosine_similarity(grad, expected_grad, dim=0) > 0.99


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


def test_a_compiled_operator_leaves_bfloat16_to_the_plain_one():
    def compiled(input, scale=1.0):
        assert input.dtype != torch.bfloat16
        return 'compiled', scale

    operate = mmcv_operators.send_bfloat16(compiled, lambda input, scale=1.0: ('plain', scale))
    assert operate(torch.ones(1, dtype=torch.float16), scale=2.0) == ('compiled', 2.0)
    assert operate(torch.ones(1, dtype=torch.bfloat16), scale=2.0) == ('plain', 2.0)
