"""Weights of other StyleGAN2s in mmagic's networks, against the paper's equations in float64."""

import argparse
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from mmagic.models.editors.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator

from disp_plugin.models.checkpoint_file import read_checkpoint
from tests.numerics import assert_close_to_scale

SIZE = 16


def make_weights(size=16, channel_max=512, w_dim=512, num_mlps=8, c_dim=0):
    """State dicts of a generator and a discriminator, as stylegan2-ada-pytorch's networks have."""

    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = taps.outer(taps) / 64
    sizes = [2**power for power in range(2, size.bit_length())]
    width = {res: min(32768 // res, channel_max) for res in sizes}
    gen = {'mapping.w_avg': torch.randn(w_dim)}
    for index in range(num_mlps):
        wide = w_dim * 2 if c_dim and index == 0 else w_dim
        gen[f'mapping.fc{index}.weight'] = torch.randn(w_dim, wide) * 100
        gen[f'mapping.fc{index}.bias'] = torch.randn(w_dim) * 10
    if c_dim:
        gen['mapping.embed.weight'] = torch.randn(w_dim, c_dim)
        gen['mapping.embed.bias'] = torch.randn(w_dim)
    gen['synthesis.b4.const'] = torch.randn(width[4], 4, 4)
    for res in sizes:
        block = f'synthesis.b{res}'
        gen[f'{block}.resample_filter'] = kernel
        for conv in ('conv1',) if res == 4 else ('conv0', 'conv1'):
            inside = width[res // 2] if conv == 'conv0' else width[res]
            gen[f'{block}.{conv}.weight'] = torch.randn(width[res], inside, 3, 3)
            gen[f'{block}.{conv}.noise_strength'] = torch.randn(())
            gen[f'{block}.{conv}.bias'] = torch.randn(width[res])
            gen[f'{block}.{conv}.resample_filter'] = kernel
            gen[f'{block}.{conv}.noise_const'] = torch.randn(res, res)
            gen[f'{block}.{conv}.affine.weight'] = torch.randn(inside, w_dim)
            gen[f'{block}.{conv}.affine.bias'] = torch.randn(inside) + 1
        gen[f'{block}.torgb.weight'] = torch.randn(3, width[res], 1, 1)
        gen[f'{block}.torgb.bias'] = torch.randn(3)
        gen[f'{block}.torgb.affine.weight'] = torch.randn(width[res], w_dim)
        gen[f'{block}.torgb.affine.bias'] = torch.randn(width[res]) + 1
    disc = {f'b{size}.fromrgb.weight': torch.randn(width[size], 3, 1, 1)}
    disc[f'b{size}.fromrgb.bias'] = torch.randn(width[size])
    disc[f'b{size}.fromrgb.resample_filter'] = kernel
    for res in sizes[1:]:
        disc[f'b{res}.resample_filter'] = kernel
        for conv, outside in (('conv0', width[res]), ('conv1', width[res // 2])):
            disc[f'b{res}.{conv}.weight'] = torch.randn(outside, width[res], 3, 3)
            disc[f'b{res}.{conv}.bias'] = torch.randn(outside)
            disc[f'b{res}.{conv}.resample_filter'] = kernel
        disc[f'b{res}.skip.weight'] = torch.randn(width[res // 2], width[res], 1, 1)
        disc[f'b{res}.skip.resample_filter'] = kernel
    disc['b4.conv.weight'] = torch.randn(width[4], width[4] + 1, 3, 3)
    disc['b4.conv.bias'] = torch.randn(width[4])
    disc['b4.conv.resample_filter'] = kernel
    disc['b4.fc.weight'] = torch.randn(width[4], width[4] * 16)
    disc['b4.fc.bias'] = torch.randn(width[4])
    disc['b4.out.weight'] = torch.randn(1, width[4])
    disc['b4.out.bias'] = torch.randn(1)
    return gen, disc


def leaky(x, bias):
    return F.leaky_relu(x + bias.view(1, -1, *[1] * (x.ndim - 2)), 0.2) * math.sqrt(2)


def linear(x, net, name, lr=1.0):
    weight = net[f'{name}.weight']
    return x @ (weight * lr / math.sqrt(weight.shape[1])).T, net[f'{name}.bias'] * lr


def smooth(x, kernel, before, after):
    channels = x.shape[1]
    x = F.pad(x, (before, after, before, after))
    return F.conv2d(x, kernel.expand(channels, 1, 4, 4), groups=channels)


def stretch(x):
    out = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    out[..., ::2, ::2] = x
    return out


def modulated(x, net, layer, w, up):
    """Equations 1 and 3 of the paper, image by image, noise and activation after it."""
    affine, bias = linear(w, net, f'{layer}.affine')
    images = []
    for image, style in zip(x, affine + bias, strict=True):
        weight = net[f'{layer}.weight'] * style.view(1, -1, 1, 1)
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        image = image[None]
        if up:
            image = smooth(stretch(image), 4 * net[f'{layer}.resample_filter'], 3, 2)
            images.append(F.conv2d(image, weight.flip(2, 3)))
        else:
            images.append(F.conv2d(image, weight, padding=1))
    noise = net[f'{layer}.noise_const'] * net[f'{layer}.noise_strength']
    return leaky(torch.cat(images) + noise, net[f'{layer}.bias'])


def generate(net, z, size, psi=1.0):
    net = {name: value.double() for name, value in net.items()}
    w = z.double() / (z.double().square().mean(1, keepdim=True) + 1e-8).sqrt()
    for index in range(8):
        w = leaky(*linear(w, net, f'mapping.fc{index}', lr=0.01))
    w = net['mapping.w_avg'] + psi * (w - net['mapping.w_avg'])
    x, image, res = net['synthesis.b4.const'].expand(len(z), -1, -1, -1), None, 4
    while res <= size:
        block = f'synthesis.b{res}'
        if res > 4:
            x = modulated(x, net, f'{block}.conv0', w, up=True)
            image = smooth(stretch(image), 4 * net[f'{block}.resample_filter'], 2, 1)
        x = modulated(x, net, f'{block}.conv1', w, up=False)
        affine, bias = linear(w, net, f'{block}.torgb.affine')
        style = (affine + bias) / math.sqrt(x.shape[1])
        color = torch.einsum('nchw,nc,kc->nkhw', x, style, net[f'{block}.torgb.weight'][..., 0, 0])
        color = color + net[f'{block}.torgb.bias'].view(1, 3, 1, 1)
        image = color if image is None else image + color
        res *= 2
    return image


def convolve(x, net, layer, **options):
    weight = net[f'{layer}.weight']
    return F.conv2d(x, weight / math.sqrt(weight[0].numel()), **options)


def judge(net, x, size):
    net = {name: value.double() for name, value in net.items()}
    x = leaky(convolve(x.double(), net, f'b{size}.fromrgb'), net[f'b{size}.fromrgb.bias'])
    while size > 4:
        block = f'b{size}'
        skip = smooth(x, net[f'{block}.skip.resample_filter'], 1, 1)
        skip = convolve(skip, net, f'{block}.skip', stride=2)
        x = leaky(convolve(x, net, f'{block}.conv0', padding=1), net[f'{block}.conv0.bias'])
        x = smooth(x, net[f'{block}.conv1.resample_filter'], 2, 2)
        x = leaky(convolve(x, net, f'{block}.conv1', stride=2), net[f'{block}.conv1.bias'])
        x = (x + skip) / math.sqrt(2)
        size //= 2
    # one group of all images
    spread = (x.var(0, unbiased=False) + 1e-8).sqrt().mean()
    x = torch.cat([x, spread.expand(len(x), 1, 4, 4)], dim=1)
    x = leaky(convolve(x, net, 'b4.conv', padding=1), net['b4.conv.bias'])
    x = leaky(*linear(x.flatten(1), net, 'b4.fc'))
    score, bias = linear(x, net, 'b4.out')
    return score + bias


def part(state, name):
    return {k.removeprefix(f'{name}.'): v for k, v in state.items() if k.startswith(f'{name}.')}


def to_rosinality(gen, disc, size):
    """The same weights as rosinality's networks name and shape them."""
    sizes = [2**power for power in range(2, size.bit_length())]
    g, d = {'input.input': gen['synthesis.b4.const'][None]}, {}
    for index in range(8):
        for leaf in ('weight', 'bias'):
            g[f'style.{index + 1}.{leaf}'] = gen[f'mapping.fc{index}.{leaf}']
    convs = [f'b{res}.conv{index}' for res in sizes for index in (0, 1)][1:]
    for index, official in enumerate(f'synthesis.{conv}' for conv in convs):
        name = f'convs.{index - 1}' if index else 'conv1'
        g[f'{name}.conv.weight'] = gen[f'{official}.weight'][None]
        g[f'{name}.conv.modulation.weight'] = gen[f'{official}.affine.weight']
        g[f'{name}.conv.modulation.bias'] = gen[f'{official}.affine.bias']
        g[f'{name}.noise.weight'] = gen[f'{official}.noise_strength'].reshape(1)
        g[f'{name}.activate.bias'] = gen[f'{official}.bias']
        g[f'noises.noise_{index}'] = gen[f'{official}.noise_const'][None, None]
        if 'conv0' in official:
            g[f'{name}.conv.blur.kernel'] = 4 * gen[f'{official}.resample_filter']
    for index, res in enumerate(sizes):
        name, official = f'to_rgbs.{index - 1}' if index else 'to_rgb1', f'synthesis.b{res}.torgb'
        g[f'{name}.conv.weight'] = gen[f'{official}.weight'][None]
        g[f'{name}.conv.modulation.weight'] = gen[f'{official}.affine.weight']
        g[f'{name}.conv.modulation.bias'] = gen[f'{official}.affine.bias']
        g[f'{name}.bias'] = gen[f'{official}.bias'].reshape(1, 3, 1, 1)
        if index:
            g[f'{name}.upsample.kernel'] = 4 * gen[f'synthesis.b{res}.resample_filter']
    d['convs.0.0.weight'] = disc[f'b{size}.fromrgb.weight']
    d['convs.0.1.bias'] = disc[f'b{size}.fromrgb.bias']
    for index, res in enumerate(sizes[:0:-1], start=1):
        d[f'convs.{index}.conv1.0.weight'] = disc[f'b{res}.conv0.weight']
        d[f'convs.{index}.conv1.1.bias'] = disc[f'b{res}.conv0.bias']
        d[f'convs.{index}.conv2.0.kernel'] = disc[f'b{res}.conv1.resample_filter']
        d[f'convs.{index}.conv2.1.weight'] = disc[f'b{res}.conv1.weight']
        d[f'convs.{index}.conv2.2.bias'] = disc[f'b{res}.conv1.bias']
        d[f'convs.{index}.skip.0.kernel'] = disc[f'b{res}.skip.resample_filter']
        d[f'convs.{index}.skip.1.weight'] = disc[f'b{res}.skip.weight']
    d['final_conv.0.weight'], d['final_conv.1.bias'] = disc['b4.conv.weight'], disc['b4.conv.bias']
    for index, official in enumerate(('b4.fc', 'b4.out')):
        for leaf in ('weight', 'bias'):
            d[f'final_linear.{index}.{leaf}'] = disc[f'{official}.{leaf}']
    return dict(g=g, d=d, g_ema=g, latent_avg=gen['mapping.w_avg'])


@pytest.fixture(scope='module')
def convert(tool, tmp_path_factory):
    """A function (what a file holds) -> layout and entries of the converted file."""
    folder = tmp_path_factory.mktemp('stylegan2')

    def convert(content):
        torch.save(content, folder / 'source.pth')
        out = folder / 'converted.safetensors'
        tool('model_converters/stylegan2.py').main([str(folder / 'source.pth'), '--out', str(out)])
        read = read_checkpoint(str(out))
        assert read.meta['channel_order'] == 'RGB'
        return read.meta['layout'], read.state

    return convert


@pytest.fixture(scope='module')
def official():
    torch.manual_seed(0)
    return make_weights(SIZE)


@pytest.fixture(scope='module')
def converted(official, convert):
    layout, state = convert(dict(G=official[0], D=official[1]))
    assert layout == 'NVlabs'
    return state


@torch.no_grad()
@pytest.mark.parametrize('psi', [1, 0.5])
def test_official_generator_makes_the_images_of_its_equations(official, converted, psi):
    noise = torch.randn(2, 512)
    net = StyleGAN2Generator(SIZE, 512, update_mean_latent_with_ema=True).eval()
    net.load_state_dict(part(converted, 'generator'))
    images = net(noise, truncation=psi, randomize_noise=False)
    assert_close_to_scale(images, generate(official[0], noise, SIZE, psi))


@torch.no_grad()
def test_official_discriminator_gives_the_scores_of_its_equations(official, converted):
    images = torch.randn(4, 3, SIZE, SIZE)
    net = StyleGAN2Discriminator(SIZE)
    net.load_state_dict(part(converted, 'discriminator'))
    assert_close_to_scale(net(images), judge(official[1], images, SIZE))


def test_rosinalitys_names_and_official_ones_become_the_same(official, converted, convert):
    # its training saves optimizers and the options, too, which are an argparse.Namespace
    others = dict(d_optim=dict(state={}), args=argparse.Namespace(size=SIZE, lr=0.002))
    layout, state = convert({**to_rosinality(*official, SIZE), **others})
    assert layout == 'rosinality'
    averaged = part(state, 'generator_ema.module')
    state = {name: value for name, value in state.items() if not name.startswith('generator_ema.')}
    assert state.keys() == converted.keys()
    assert all(torch.equal(value, converted[name]) for name, value in state.items())
    assert averaged.keys() == part(converted, 'generator').keys()


@pytest.mark.parametrize('size', [8, 64, 1024])
def test_every_entry_of_mmagics_networks_is_named_and_shaped(size, tool):
    converter = tool('model_converters/stylegan2.py')
    with torch.device('meta'):
        gen, disc = make_weights(size)
        networks = dict(
            generator=StyleGAN2Generator(size, 512, update_mean_latent_with_ema=True),
            discriminator=StyleGAN2Discriminator(size),
        )
    other = to_rosinality(gen, disc, size)
    for name, network in networks.items():
        expected = {key: value.shape for key, value in network.state_dict().items()}
        official, rosinality = (gen, other['g']) if name == 'generator' else (disc, other['d'])
        named = converter.rename_nvlabs(name, official)
        assert {key: value.shape for key, value in named.items()} == expected
        named = converter.rename_rosinality(name, rosinality)
        # latent_avg lies beside the networks
        expected.pop('w_avg', None)
        assert {key: value.shape for key, value in named.items()} == expected


def test_one_network_alone_is_recognized(convert):
    gen, disc = make_weights(8, channel_max=2, w_dim=2)
    other = to_rosinality(gen, disc, 8)
    for content, layout, name in (
        (gen, 'NVlabs', 'generator'),
        (disc, 'NVlabs', 'discriminator'),
        (other['g'], 'rosinality', 'generator'),
        (other['d'], 'rosinality', 'discriminator'),
        (dict(G_ema=gen), 'NVlabs', 'generator_ema'),
    ):
        found, state = convert(content)
        assert found == layout
        assert {key.split('.')[0] for key in state} == {name}


def test_what_stylegan2_does_not_have_keeps_its_name(convert):
    gen, disc = make_weights(8, channel_max=2, w_dim=2, c_dim=3)
    disc['b4.fromrgb.weight'] = torch.zeros(2, 3, 1, 1)
    _, state = convert(dict(G=gen, D=disc))
    assert {name for name in state if 'mapping.' in name and 'style' not in name} == {
        'generator.mapping.embed.weight',
        'generator.mapping.embed.bias',
    }
    assert 'discriminator.b4.fromrgb.weight' in state


@pytest.mark.parametrize('name', ['ffhq.pkl', 'ffhq.pth'])
def test_a_pickle_is_refused_with_the_way_to_save_its_weights(name, tmp_path, tool):
    (tmp_path / name).write_bytes(pickle.dumps(dict(G='torch_utils.persistence'), protocol=2))
    with pytest.raises(SystemExit, match='network pickle.*checkout of') as error:
        tool('model_converters/stylegan2.py').main([str(tmp_path / name), '--out', 'x.pth'])
    lines = str(error.value).split('`')[1]
    compile(lines, 'lines', 'exec')
    assert f"open('{name}', 'rb')" in lines and "'ffhq-tensors.pth')" in lines
