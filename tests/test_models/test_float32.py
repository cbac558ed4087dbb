"""Under autocast networks compute what they do in float32, and parts of them in float32 itself."""

import copy

import pytest
import torch
from mmagic.models.editors.biggan.biggan_snmodule import SNConv2d, SNLinear
from torch import nn
from torch.nn.utils import spectral_norm

from disp_plugin.models import PriorConditionBN, PriorProjection
from disp_plugin.models.float32 import widen
from disp_plugin.models.stylegan2_autocast import find_autocast, followed
from tests.gans import PRIOR_DIM, TYPE, draw, make_gan
from tests.numerics import assert_close_to_scale

UNIT = 2.0**-8  # bfloat16 keeps 8 bits: it rounds by at most this, relative
GANS = list(TYPE)


def bfloat16():
    return torch.autocast('cpu', torch.bfloat16)


def count_layers(network):
    """Layers with weights and activations, each of which rounds once."""
    return sum(1 for module in network.modules() if not list(module.children()))


def build(name, **changes):
    """A GAN with weights that make the parts of its images and scores comparable in size."""
    gan = make_gan(name, **changes)
    images = torch.rand(4, 3, gan.image_size, gan.image_size) * 2 - 1
    fixed = dict(randomize_noise=False) if name == 'stylegan2' else {}
    return gan, images, *draw(gan, 4), fixed


@pytest.mark.parametrize('name', GANS)
def test_images_and_scores_are_those_of_float32_up_to_rounding_in_each_layer(name):
    gan, images, noise, prior, fixed = build(name)
    exact = copy.deepcopy(gan)
    with bfloat16():
        made, score = gan.generator(noise, prior, **fixed), gan.discriminator(images, prior)
    pairs = (
        (gan.generator, made, exact.generator(noise, prior, **fixed)),
        (gan.discriminator, score, exact.discriminator(images, prior)),
    )
    for network, found, expected in pairs:
        assert found.dtype == torch.float32
        error = ((found - expected).norm() / expected.norm()).item()
        assert 2.0**-14 < error < count_layers(network) * UNIT


@pytest.mark.parametrize('name', GANS)
def test_only_batch_norms_keep_other_numbers_and_by_their_inputs_rounding(name):
    """Spectral norms, mean styles and augmentations are those of float32, bit for bit."""
    gan, images, noise, prior, _ = build(name)
    exact = copy.deepcopy(gan)
    for model, context in ((exact, torch.autocast('cpu', enabled=False)), (gan, bfloat16())):
        with context:
            model.generator(noise, prior, return_noise=True)
            model.discriminator(images, prior)
    state = exact.state_dict()
    assert any('_u' in key or 'w_avg' in key for key in state)
    for key, value in gan.state_dict().items():
        if 'running' in key:
            scale = max(state[key].abs().max(), 0.1)  # the momentum, of features of size 1
            assert value.dtype == torch.float32
            assert (value - state[key]).abs().max() < count_layers(gan.generator) * UNIT * scale
        else:
            assert torch.equal(value, state[key]), key


@pytest.mark.parametrize(
    'make',
    [
        lambda: SNLinear(12, 8),
        lambda: SNConv2d(3, 8, 3),
        lambda: spectral_norm(nn.Linear(12, 8)),
        lambda: spectral_norm(nn.Conv2d(3, 8, 3)),
    ],
)
def test_power_iteration_stays_in_float32(make):
    torch.manual_seed(0)
    layer = make()
    exact = copy.deepcopy(layer)
    inputs = torch.randn(4, 12) if isinstance(layer, nn.Linear) else torch.randn(4, 3, 5, 5)
    for _ in range(3):
        exact(inputs)
        with bfloat16():
            assert layer(inputs).dtype == torch.bfloat16
    assert all(torch.equal(v, exact.state_dict()[k]) for k, v in layer.state_dict().items())
    if hasattr(layer, 'weight_u'):
        assert torch.equal(layer.weight, exact.weight)


@pytest.mark.parametrize('name', ['biggan', 'sngan'])
def test_r1_is_that_of_float32(name):
    losses = dict(r1=dict(type='R1GradientPenalty', loss_weight=1.0, interval=1))
    gan, images, _, prior, _ = build(name, disc_losses=losses)
    exact = copy.deepcopy(gan)
    found = []
    for model, context in ((exact, torch.autocast('cpu', enabled=False)), (gan, bfloat16())):
        with context:
            outputs = model._outputs(prior, 4, 1)
            outputs['real_imgs'] = images
            found.append(model.disc_auxiliary_losses[0](outputs))
    assert found[0] > 0 and torch.equal(*found)


def test_batch_norms_statistics_and_priors_affine_are_in_float32():
    norm = PriorConditionBN(nn.BatchNorm2d(3, affine=False), 3, PRIOR_DIM)
    x, prior_emb = torch.randn(4, 3, 6, 6).bfloat16() * 3 + 20, torch.randn(4, PRIOR_DIM)
    exact = copy.deepcopy(norm)
    with bfloat16():
        found = norm(x, prior_emb)
    exact(x.float(), prior_emb)
    assert found.dtype == torch.bfloat16
    assert_close_to_scale(norm.norm.running_mean, exact.norm.running_mean)
    assert_close_to_scale(norm.norm.running_var, exact.norm.running_var)
    normalized = nn.BatchNorm2d(3, affine=False)(x)
    gain, bias = (part(prior_emb)[:, :, None, None] for part in (norm.gain, norm.bias))
    assert torch.equal(found, (normalized * (1 + gain) + bias).bfloat16())


def test_projections_of_priors_are_in_float32():
    projection = PriorProjection(5, 4, num_layers=2, with_spectral_norm=True)
    exact, prior = copy.deepcopy(projection), torch.randn(3, 5)
    with bfloat16():
        assert torch.equal(projection(prior), exact(prior))
        assert find_autocast('cpu') == torch.bfloat16  # only within
    assert find_autocast('cpu') is None and find_autocast('meta') is None
    assert widen(torch.ones(1).double()).dtype == torch.float64


class TestStyleGAN2:
    def test_in_every_size_and_no_autocast_it_is_float32(self):
        """Sampling and penalties are the same function whatever training computes in."""
        gan, images, noise, prior, fixed = build('stylegan2')
        none = dict(num_fp16_scales=0)
        plain = make_gan('stylegan2', generator=none, network=none)
        assert torch.equal(
            gan.generator(noise, prior, **fixed), plain.generator(noise, prior, **fixed)
        )
        assert torch.equal(gan.discriminator(images, prior), plain.discriminator(images, prior))

    @pytest.mark.parametrize('upsample', [False, True])
    @pytest.mark.parametrize(('dtype', 'unit'), [(torch.bfloat16, UNIT), (torch.float16, 2**-11)])
    def test_a_modulated_convolution_is_the_same_function_in_half_precision(
        self, dtype, unit, upsample
    ):
        """mmagic's own normalizes a style before it is mapped, which is another function."""
        generator = make_gan('stylegan2').generator
        block = generator.convs[0 if upsample else 1]
        nn.init.normal_(block.conv.style_modulation.bias, 1.0)
        x, style = torch.randn(3, block.conv.in_channels, 6, 6), 5 * torch.randn(3, 16)
        expected = block.conv(x, style)
        with torch.autocast('cpu', dtype), followed('cpu'):
            found = block.conv(x, style)
        assert found.dtype == dtype
        # x, its scale, their product, the weights, the sum, a blur, the gain, and their product
        assert (found.float() - expected).norm() < 8 * unit * expected.norm()

    def test_without_demodulation_too(self):
        to_rgb = make_gan('stylegan2').generator.to_rgbs[0]
        x, style = torch.randn(3, to_rgb.conv.in_channels, 6, 6), torch.randn(3, 16)
        expected = to_rgb(x, style)
        with bfloat16(), followed('cpu'):
            found = to_rgb(x, style)
        assert found.dtype == torch.float32
        assert (found - expected).norm() < 8 * UNIT * expected.norm()

    def test_features_are_bounded_in_float16_alone(self):
        block = make_gan('stylegan2').generator.convs[1]
        x, style = 1e4 * torch.randn(3, block.conv.in_channels, 6, 6), torch.randn(3, 16)
        expected = block(x, style, add_noise=False)
        assert expected.abs().max() > 256
        with bfloat16(), followed('cpu'):
            found = block(x, style, add_noise=False)
        assert (found.float() - expected).norm() < 8 * UNIT * expected.norm()
        with torch.autocast('cpu', torch.float16), followed('cpu'):
            assert block.conv_clamp == 256

    def test_deviations_within_groups_are_in_float32(self):
        gan, images, _, prior, _ = build('stylegan2')
        seen = []
        layer = gan.discriminator.discriminator.mbstd_layer
        layer.register_forward_hook(lambda module, args, out: seen.append((args[0].dtype, out)))
        with bfloat16():
            gan.discriminator(images, prior)
        (kind, out) = seen[0]
        assert (kind, out.dtype) == (torch.bfloat16, torch.float32)
        assert not torch.equal(out[:, -1], out[:, -1].bfloat16().float())
