"""FastGAN's generator against a float64 formula of its own; its sizes, noise and gradients."""

import copy

import pytest
import torch
from torch.nn import functional

from disp_plugin.applications.invert_images import generate_by_blocks
from disp_plugin.models import DISPFastGANGenerator
from disp_plugin.models.fast_convolutions import fuse_convolutions
from tests.gans import PRIOR_DIM, draw, make_gan, train_gan
from tests.numerics import assert_close_to_scale


def randomize(generator):
    """Give all parameters and statistics random values, and spectral norms their true vectors."""
    torch.manual_seed(0)
    for module in generator.modules():
        for parameter in module.parameters(recurse=False):
            parameter.data = torch.randn_like(parameter) / 4  # neither saturated nor tiny
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
        if hasattr(module, 'weight_u'):
            dim = int(isinstance(module, torch.nn.ConvTranspose2d))
            u, _, v = torch.linalg.svd(module.weight_orig.transpose(0, dim).flatten(1))
            module.weight_u.copy_(u[:, 0])
            module.weight_v.copy_(v[0])


def reference(state, noise, prior, size):
    """The image of one z and prior in evaluation, from the entries of the state dict alone."""

    def weight(name, dim=0):
        value = state[f'{name}.weight_orig']
        return value / torch.linalg.matrix_norm(value.transpose(0, dim).flatten(1), ord=2)

    def normalize_and_gate(x, name):
        mean, var = (state[f'{name}.norm.norm.running_{part}'] for part in ('mean', 'var'))
        gain, bias = (
            state[f'{name}.norm.{part}.0.weight'] @ prior_emb for part in ('gain', 'bias')
        )
        x = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
        x = x * (1 + gain[:, None, None]) + bias[:, None, None]
        value, gate = x.chunk(2)
        return value / (1 + torch.exp(-gate))

    def layer(x, name):
        x = functional.conv2d(x[None], weight(f'{name}.conv'), padding=1)[0]
        if f'{name}.noise_weight' in state:
            x = x + state[f'{name}.noise_weight'] * state[f'{name}.fixed_noise'][0]
        return normalize_and_gate(x, name)

    prior_emb = state['prior_projection.0.weight'] @ prior
    first = torch.einsum('z,zkhw->khw', noise, weight('conv_blocks.0.conv', dim=1))
    maps = {4: normalize_and_gate(first, 'conv_blocks.0')}
    for number in range(1, size.bit_length() - 2):
        side = 4 * 2**number
        x = maps[side // 2].repeat_interleave(2, 1).repeat_interleave(2, 2)
        x = layer(x, f'conv_blocks.{number}.layer_1')
        if side in (8, 32, 128, 512):
            x = layer(x, f'conv_blocks.{number}.layer_2')
        if side in (64, 128, 256, 512):
            low = maps[side // 16]
            pooled = low.unflatten(2, (4, -1)).unflatten(1, (4, -1)).mean(dim=(2, 4))
            hidden = torch.einsum('chw,kchw->k', pooled, weight(f'excitations.{side}.1'))
            hidden = hidden / (1 + torch.exp(-hidden))
            factors = weight(f'excitations.{side}.3')[:, :, 0, 0] @ hidden
            x = x / (1 + torch.exp(-factors))[:, None, None]
        maps[side] = x
    return torch.tanh(functional.conv2d(maps[size][None], weight('to_rgb'), padding=1)[0])


@pytest.mark.parametrize('size', [16, 512])
def test_an_image_is_its_formula(size):
    generator = DISPFastGANGenerator(size, 3, noise_size=5, base_channels=4, prior_emb_dim=6)
    generator = generator.double().eval()
    randomize(generator)
    noise, prior = torch.randn(2, 5).double(), torch.randn(2, 3).double()
    expected = [
        reference(generator.state_dict(), *row, size) for row in zip(noise, prior, strict=True)
    ]
    assert 0.01 < torch.stack(expected).abs().mean() < 0.9
    with torch.no_grad():
        assert_close_to_scale(generator(noise, prior), torch.stack(expected))
        fuse_convolutions(generator)
        assert not any(isinstance(m, torch.nn.Upsample) for m in generator.modules())
        assert_close_to_scale(generator(noise, prior), torch.stack(expected))


@pytest.mark.parametrize('size', [64, 128, 256, 512, 1024])
@pytest.mark.parametrize('prior_dim', [0, 7])
def test_each_size_has_the_published_widths(size, prior_dim):
    published = {4: 1024, 8: 512, 16: 256, 32: 128, 64: 128, 128: 64, 256: 32, 512: 16, 1024: 8}
    with torch.device('meta'), torch.no_grad():
        generator = DISPFastGANGenerator(size, prior_dim)
        prior = torch.empty(2, prior_dim) if prior_dim else None
        sides, widths = [], []
        for block in generator.conv_blocks:
            block.register_forward_hook(lambda module, args, out: sides.append(out.shape[-1]))
            block.register_forward_hook(lambda module, args, out: widths.append(out.shape[1]))
        assert generator(torch.empty(2, 256), prior).shape == (2, 3, size, size)
    assert dict(zip(sides, widths, strict=True)) == {
        k: v for k, v in published.items() if k <= size
    }
    # what is not the condition's has as many weights as the published layers
    double, wide = {8, 32, 128, 512}, [s for s in published if 4 < s <= size]
    expected = 256 * 2048 * 16 + 3 * 9 * published[size]
    for side in wide:
        low, high = published[side // 2], published[side]
        expected += 2 * 9 * high * (low + high * (side in double)) + 2 * (side in double)
        if side in (64, 128, 256, 512):
            expected += published[side // 16] * high * 16 + high * high
    conditional = ('norm.', 'prior_projection')
    counted = [
        p.numel() for n, p in generator.named_parameters() if not any(c in n for c in conditional)
    ]
    assert sum(counted) == expected


def test_sizes_and_widths_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match='no architecture for images of 100 px.*, 256, 512, 1024'):
        DISPFastGANGenerator(100, 4)
    with pytest.raises(ValueError, match='base_channels .* is 4; at 1024 px it must be 8 or more'):
        DISPFastGANGenerator(1024, 4, base_channels=4)


def test_noise_is_drawn_anew_in_training_and_fixed_in_evaluation():
    gan = make_gan('fastgan')
    for name, parameter in gan.generator.named_parameters():
        if name.endswith('noise_weight'):
            assert not parameter.any()  # as published, noise comes in by learning
            parameter.data.fill_(1.0)
    latents, generator = draw(gan), gan.generator
    with torch.no_grad():
        torch.manual_seed(3)
        first, other = generator(*latents), generator(*latents)
        torch.manual_seed(3)
        again = generator(*latents)
        assert not torch.equal(first, other)
        assert first.shape == again.shape
        generator.eval()
        images = generator(*latents)
        assert torch.equal(images, generator(*latents))
        one_by_one = [generator(*(part[i : i + 1] for part in latents)) for i in range(3)]
    assert_close_to_scale(torch.cat(one_by_one), images)


@pytest.mark.parametrize('prior_dim', [0, PRIOR_DIM])
def test_a_step_teaches_every_weight(prior_dim):
    gan = make_gan('fastgan', prior_dim=prior_dim, network=dict(base_channels=8))
    gan.init_weights()
    before = copy.deepcopy(gan.generator.state_dict())
    train_gan(gan, 2)
    after = dict(gan.generator.named_parameters())
    assert all(not torch.equal(value, before[name]) for name, value in after.items())
    assert all(value.isfinite().all() for value in after.values())


@pytest.mark.parametrize('prior_dim', [0, PRIOR_DIM])
def test_one_condition_for_all_blocks_gives_the_image(prior_dim):
    generator = make_gan('fastgan', prior_dim=prior_dim).generator.eval()
    noise, prior = torch.randn(2, 16), torch.randn(2, prior_dim) if prior_dim else None
    condition = generator.prior_projection(prior) if prior_dim else noise
    made = generate_by_blocks(generator, noise, condition[:, None].repeat(1, 4, 1))
    assert_close_to_scale(made, generator(noise, prior))
    out = generator(None, prior, num_batches=2, return_noise=True)
    assert set(out) == {'fake_img', 'noise_batch', 'prior'}


def test_a_miner_freezes_all_but_the_condition():
    gan = make_gan('fastgan', mining_iters=2)
    before = copy.deepcopy(gan.generator.generator.state_dict())
    train_gan(gan, 2)
    moved = {
        name
        for name, value in gan.generator.generator.named_parameters()
        if not torch.equal(value, before[name])
    }
    assert moved and all('norm.' in name or 'prior_projection' in name for name in moved)
