"""Converted weights of BigGAN-PyTorch compute what they computed, in float64 formulas."""

import itertools
from pathlib import Path

import pytest
import torch
from mmagic.registry import MODELS
from torch.nn import functional

from disp_plugin.cli.config import load_config
from disp_plugin.models import load_pretrained
from tests.numerics import assert_close_to_scale

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'
WIDTHS, SHARED, CHUNK, CLASSES = (16, 8), 6, 4, 5
D_WIDTHS = (8, 16, 16)
STYLES = {'ajbrock': dict(sn_style='ajbrock'), 'torch': dict(sn_style='torch')}


def normal(*shape):
    return torch.randn(shape, dtype=torch.float64) * 0.5


def normed(state, name, *shape, bias=True):
    """A layer with BigGAN-PyTorch's spectral norm: its vector is far from the singular one."""
    state[f'{name}.weight'] = normal(*shape)
    if bias:
        state[f'{name}.bias'] = normal(shape[0])
    state[f'{name}.u0'] = functional.normalize(normal(1, shape[0]))
    state[f'{name}.sv0'] = torch.ones(1)


def statistics(state, name, channels, kind):
    names = {
        'plain': ('stored_mean', 'stored_var'),
        'synchronized': ('bn.running_mean', 'bn.running_var'),
        'own': ('bn.stored_mean', 'bn.stored_var'),
    }[kind]
    state[f'{name}.{names[0]}'] = normal(channels)
    state[f'{name}.{names[1]}'] = normal(channels).abs() + 0.5


def attention(state, name, channels):
    for conv, out, inside in (
        ('theta', channels // 8, channels),
        ('phi', channels // 8, channels),
        ('g', channels // 2, channels),
        ('o', channels, channels // 2),
    ):
        normed(state, f'{name}.{conv}', out, inside, 1, 1, bias=False)
    state[f'{name}.gamma'] = normal()


def make_generator(kind='plain', widths=WIDTHS, shared=SHARED, chunk=CHUNK, attended=0):
    """Two blocks, 4 to 16 px, the first with attention, in the names of BigGAN.py."""
    state = {'shared.weight': normal(CLASSES, shared)}
    normed(state, 'linear', widths[0] * 16, chunk)
    for i, (inside, out) in enumerate(itertools.pairwise((widths[0], *widths))):
        block = f'blocks.{i}.0'
        normed(state, f'{block}.conv1', out, inside, 3, 3)
        normed(state, f'{block}.conv2', out, out, 3, 3)
        normed(state, f'{block}.conv_sc', out, inside, 1, 1)
        for norm, channels in (('bn1', inside), ('bn2', out)):
            normed(state, f'{block}.{norm}.gain', channels, shared + chunk, bias=False)
            normed(state, f'{block}.{norm}.bias', channels, shared + chunk, bias=False)
            statistics(state, f'{block}.{norm}', channels, kind)
    attention(state, f'blocks.{attended}.1', widths[attended])
    state['output_layer.0.gain'], state['output_layer.0.bias'] = normal(2, widths[-1])
    statistics(state, 'output_layer.0', widths[-1], kind)
    normed(state, 'output_layer.2', 3, widths[-1], 3, 3)
    return state


def make_discriminator(widths=D_WIDTHS):
    """Two halving blocks, attention after the first, and one that keeps the size."""
    state = {}
    for i, (inside, out) in enumerate(itertools.pairwise((3, *widths))):
        normed(state, f'blocks.{i}.0.conv1', out, inside, 3, 3)
        normed(state, f'blocks.{i}.0.conv2', out, out, 3, 3)
        if i < len(widths) - 1:
            normed(state, f'blocks.{i}.0.conv_sc', out, inside, 1, 1)
    attention(state, 'blocks.0.1', widths[0])
    normed(state, 'linear', 1, widths[-1])
    normed(state, 'embed', CLASSES, widths[-1], bias=False)
    return state


def weight(state, name):
    """W / sigma, sigma by one step of the power method from u."""
    value = state[f'{name}.weight']
    rows = value.reshape(len(value), -1)
    v = functional.normalize(state[f'{name}.u0'] @ rows)
    return value / (rows @ v.T).norm()


def conv(state, name, x):
    kernel = weight(state, name)
    return functional.conv2d(x, kernel, state.get(f'{name}.bias'), padding=kernel.shape[-1] // 2)


def attend(state, name, x):
    size = x.shape[2:]
    theta = conv(state, f'{name}.theta', x).flatten(2)
    phi, g = (
        functional.max_pool2d(conv(state, f'{name}.{part}', x), 2).flatten(2)
        for part in ('phi', 'g')
    )
    share = torch.einsum('nci,ncj->nij', theta, phi).softmax(2)
    mixed = torch.einsum('ncj,nij->nci', g, share).unflatten(2, size)
    return x + state[f'{name}.gamma'] * conv(state, f'{name}.o', mixed)


def whiten(state, name, x):
    mean, var = state[f'{name}.stored_mean'], state[f'{name}.stored_var']
    return (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()


def modulate(state, name, x, y):
    gain, bias = (y @ weight(state, f'{name}.{part}').T for part in ('gain', 'bias'))
    return whiten(state, name, x) * (1 + gain[..., None, None]) + bias[..., None, None]


def double(x):
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def generate(state, noise, y):
    """RGB images of BigGAN with a hierarchical latent (Brock et al. 2019, appendix B)."""
    chunks = noise.split(state['linear.weight'].shape[1], dim=1)
    x = chunks[0] @ weight(state, 'linear').T + state['linear.bias']
    x = x.view(len(noise), -1, 4, 4)
    for i in range(len(chunks) - 1):
        block, condition = f'blocks.{i}.0', torch.cat([y, chunks[i + 1]], dim=1)
        h = conv(
            state, f'{block}.conv1', double(modulate(state, f'{block}.bn1', x, condition).relu())
        )
        h = conv(state, f'{block}.conv2', modulate(state, f'{block}.bn2', h, condition).relu())
        x = h + conv(state, f'{block}.conv_sc', double(x))
        if f'blocks.{i}.1.gamma' in state:
            x = attend(state, f'blocks.{i}.1', x)
    gain, bias = (state[f'output_layer.0.{part}'][:, None, None] for part in ('gain', 'bias'))
    x = whiten(state, 'output_layer.0', x) * gain + bias
    return conv(state, 'output_layer.2', x.relu()).tanh()


def score(state, img):
    x = img
    for i in itertools.count():
        block = f'blocks.{i}.0'
        if f'{block}.conv1.weight' not in state:
            break
        h = conv(state, f'{block}.conv1', x.relu() if i else x)
        h = conv(state, f'{block}.conv2', h.relu())
        shortcut = x
        if f'{block}.conv_sc.weight' in state:
            h = functional.avg_pool2d(h, 2)
            shortcut = functional.avg_pool2d(conv(state, f'{block}.conv_sc', x), 2)
        x = h + shortcut
        if i == 0:
            x = attend(state, 'blocks.0.1', x)
    features = x.relu().sum((2, 3))
    return features @ weight(state, 'linear').T + state['linear.bias']


def build(style='ajbrock', prior_dim=7, order='BGR', inplace=False):
    options = dict(sn_eps=1e-12, act_cfg=dict(type='ReLU', inplace=inplace), **STYLES[style])
    gan = MODELS.build(
        dict(
            type='DISPBigGAN',
            prior_dim=prior_dim,
            generator=dict(
                type='DISPBigGANGenerator',
                output_scale=16,
                noise_size=3 * CHUNK,
                shared_dim=SHARED,
                arch_cfg=dict(
                    in_channels=[WIDTHS[0], WIDTHS[0]],
                    out_channels=list(WIDTHS),
                    upsample=[True, True],
                    resolution=[8, 16],
                    attention=[True, False],
                ),
                **options,
            ),
            discriminator=dict(
                type='PriorProjectionDiscriminator',
                discriminator=dict(
                    type='BigGANDiscriminator',
                    input_scale=16,
                    arch_cfg=dict(
                        in_channels=[3, *D_WIDTHS[:-1]],
                        out_channels=list(D_WIDTHS),
                        downsample=[True, True, False],
                        resolution=[8, 4, 4],
                        attention=[True, False, False],
                    ),
                    **options,
                ),
            ),
            data_preprocessor=dict(type='DataPreprocessor'),
            ema_config=dict(type='ExponentialMovingAverage'),
        )
    )
    gan.data_preprocessor.output_channel_order = order
    return gan.eval()


@pytest.fixture
def states():
    return dict(G=make_generator(), G_ema=make_generator(), D=make_discriminator())


@pytest.fixture
def convert(tool, tmp_path):
    """A function (networks by the names of their files) -> the converted file."""
    converter = tool('model_converters/biggan_pytorch.py')

    def convert(suffix='safetensors', **networks):
        folder = tmp_path / 'weights'
        folder.mkdir(exist_ok=True)
        for name, state in networks.items():
            single = {key: value.float() for key, value in state.items()}
            torch.save(single, folder / f'{name}.pth')
        file = tmp_path / f'converted.{suffix}'
        converter.main([str(folder), '--out', str(file)])
        return str(file)

    return convert


@torch.no_grad()
@pytest.mark.parametrize('style', STYLES)
@pytest.mark.parametrize('order', ['RGB', 'BGR'])
def test_networks_compute_what_biggan_pytorch_computes(style, order, states, convert):
    gan = build(style, order=order)
    report = load_pretrained(gan, convert(**states))
    gan.double()
    states = {
        name: {key: value.float().double() for key, value in state.items()}
        for name, state in states.items()
    }
    # torch's vectors are computed from the file's in float32
    options = dict(dtype=torch.float32, num_terms=100) if style == 'torch' else {}
    noise, prior = torch.randn(3, 3 * CHUNK).double(), torch.randn(3, 7).double()
    turned = [0, 1, 2] if order == 'RGB' else [2, 1, 0]
    for generator in (gan.generator, gan.generator_ema.module):
        expected = generate(states['G_ema'], noise, generator.prior_projection(prior))
        assert_close_to_scale(generator(noise, prior=prior)[:, turned], expected, **options)
    img = torch.randn(3, 3, 16, 16).double()
    scores = gan.discriminator.discriminator(img[:, turned])
    assert_close_to_scale(scores, score(states['D'], img), **options)
    assert report.layout == 'BigGAN-PyTorch'
    flipped = 'none' if order == 'RGB' else 'generator to BGR, generator_ema to BGR, discriminator'
    assert f'flipped: {flipped}' in report.colors


@torch.no_grad()
@pytest.mark.parametrize('name', ['places2.5k', 'lsun_bedroom_gmm'])
def test_a_shipped_config_starts_from_the_papers_weights(name, convert):
    """All blocks of BigGAN-PyTorch at 128 px; ch is 8 in place of 96."""
    config = f'disp_biggan_{name}.py'
    cfg = load_config(CONFIGS / config, techniques=['transfer_biggan_pytorch'])
    networks = (cfg.model.generator, cfg.model.discriminator.discriminator)
    for network in networks:
        assert network.pop('base_channels') == 96
        network.base_channels = 8
    cfg.model.prior_dim = 7
    generator = make_generator('plain', (128, 64, 32, 16, 8), shared=128, chunk=20, attended=3)
    states = dict(G=generator, G_ema=generator, D=make_discriminator((8, 16, 32, 64, 128, 128)))
    assert Path(cfg.model.pretrained.checkpoint).suffix == '.safetensors'
    cfg.model.pretrained.checkpoint = convert(**states)
    gan = MODELS.build(cfg.model)
    gan.init_weights()
    gan = gan.double().eval()
    generator, discriminator = (
        {key: value.float().double() for key, value in states[part].items()} for part in 'GD'
    )
    noise, prior = torch.randn(2, 120).double(), torch.randn(2, 7).double()
    images = generate(generator, noise, gan.generator.prior_projection(prior))
    # the model's colors are BGR
    assert_close_to_scale(gan.generator(noise, prior)[:, [2, 1, 0]], images)
    scores = gan.discriminator.discriminator(images[:, [2, 1, 0]])
    assert_close_to_scale(scores, score(discriminator, images))


def test_the_table_lists_what_was_loaded_new_and_ignored(states, convert):
    gan = build()
    report = load_pretrained(gan, convert(**states))
    assert not report.mismatched
    ours = ('generator.', 'generator_ema.module.', 'discriminator.')
    new = [key for key in report.new if key.startswith(ours)]
    assert all('prior_projection' in key or 'num_batches_tracked' in key for key in new)
    assert set(report.ignored) == {
        'generator.shared_embedding.weight',
        'generator_ema.module.shared_embedding.weight',
        *(f'discriminator.discriminator.proj_y.{leaf}' for leaf in ('weight', 'u0', 'sv0')),
    }


def test_mmagics_own_biggan_loads_the_pth_file_whole(states, convert):
    state = torch.load(convert('pth', **states), weights_only=True)['state_dict']
    gan = build()
    network = gan.discriminator.discriminator
    prefix = 'discriminator.'
    found = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    missing, extra = network.load_state_dict(found, strict=False)
    assert not missing and all(key.startswith('proj_y.') for key in extra)


@pytest.mark.parametrize('kind', ['synchronized', 'own'])
def test_statistics_of_every_batch_norm_find_their_place(kind, tool):
    state = make_generator(kind)
    renamed = tool('model_converters/biggan_pytorch.py').rename_biggan('generator', state)
    plain = {key.replace('.bn.', '.'): value for key, value in state.items()}
    found = {'blocks.1.0.bn2': 'conv_blocks.2.bn2.bn', 'output_layer.0': 'output_layer.bn'}
    leaf = 'running' if kind == 'synchronized' else 'stored'
    for theirs, ours in found.items():
        assert torch.equal(plain[f'{theirs}.{leaf}_var'], renamed[f'{ours}.running_var'])
        assert torch.equal(plain[f'{theirs}.{leaf}_mean'], renamed[f'{ours}.running_mean'])


def test_activations_in_place_are_refused(states, convert):
    with pytest.raises(ValueError, match=r'work in place.*set act_cfg=dict\(inplace=False\)'):
        load_pretrained(build(inplace=True), convert(**states))
