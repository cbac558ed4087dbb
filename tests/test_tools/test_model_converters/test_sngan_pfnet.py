"""Converted arrays of pfnet SNGAN compute what they computed, in float64 formulas."""

import itertools

import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from torch.nn import functional

from disp_plugin.models import load_pretrained
from tests.numerics import assert_close_to_scale

NOISE, CLASSES, WIDTHS, D_WIDTHS = 5, 3, (8, 8, 4), (4, 8, 8)
EPS = 2e-5  # of Chainer's BatchNormalization


@pytest.fixture
def rand(rng):
    generator = rng(0)
    return lambda *shape: generator.normal(size=shape) * 0.5


def layer(state, rand, name, *shape, normed=False):
    state[f'{name}/W'], state[f'{name}/b'] = rand(*shape), rand(shape[0])
    if normed:
        u = rand(1, shape[0])
        state[f'{name}/u'] = u / np.linalg.norm(u)


def norm(state, rand, name, channels):
    state[f'{name}/avg_mean'], state[f'{name}/avg_var'] = rand(channels), rand(channels) ** 2 + 0.5
    state[f'{name}/N'] = np.array(0)


@pytest.fixture
def gen(rand):
    """Two blocks, 4 to 16 px, named as in gen_models/resnet.py, which has five."""
    state = {}
    layer(state, rand, 'l1', WIDTHS[0] * 16, NOISE)
    for number, (inside, out) in enumerate(itertools.pairwise(WIDTHS), start=2):
        layer(state, rand, f'block{number}/c1', out, inside, 3, 3)
        layer(state, rand, f'block{number}/c2', out, out, 3, 3)
        layer(state, rand, f'block{number}/c_sc', out, inside, 1, 1)
        for name, channels in (('b1', inside), ('b2', out)):
            norm(state, rand, f'block{number}/{name}', channels)
            state[f'block{number}/{name}/gammas/W'] = rand(CLASSES, channels) + 1
            state[f'block{number}/{name}/betas/W'] = rand(CLASSES, channels)
    norm(state, rand, 'b4', WIDTHS[-1])
    state['b4/gamma'], state['b4/beta'] = rand(WIDTHS[-1]) + 1, rand(WIDTHS[-1])
    layer(state, rand, 'l4', 3, WIDTHS[-1], 3, 3)
    return state


@pytest.fixture
def disc(rand):
    """Three blocks, the last of which keeps the size, named as in dis_models/snresnet.py."""
    state = {}
    for number, (inside, out) in enumerate(itertools.pairwise((3, *D_WIDTHS)), start=1):
        middle = out if number == 1 else inside
        layer(state, rand, f'block{number}/c1', middle, inside, 3, 3, normed=True)
        layer(state, rand, f'block{number}/c2', out, middle, 3, 3, normed=True)
        if number < 3:
            layer(state, rand, f'block{number}/c_sc', out, inside, 1, 1, normed=True)
    layer(state, rand, 'l4', 1, D_WIDTHS[-1], normed=True)
    layer(state, rand, 'l_y', CLASSES, D_WIDTHS[-1], normed=True)
    del state['l_y/b']
    return state


def tensors(state):
    """The arrays as a file holds them, in float32, for formulas in float64."""
    return {name: torch.as_tensor(value).float().double() for name, value in state.items()}


def conv(state, name, x):
    kernel = state[f'{name}/W']
    if f'{name}/u' in state:
        rows = kernel.reshape(len(kernel), -1)
        v = functional.normalize(state[f'{name}/u'] @ rows)
        kernel = kernel / (rows @ v.T).norm()
    if kernel.ndim == 2:
        return x @ kernel.T + state[f'{name}/b']
    return functional.conv2d(x, kernel, state[f'{name}/b'], padding=kernel.shape[-1] // 2)


def double(x):
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def generate(state, noise, label):
    """RGB images of one class of SNGAN (Miyato & Koyama 2018)."""

    def normalize(name, x, gamma, beta):
        x = (x - state[f'{name}/avg_mean'][:, None, None]) / (
            state[f'{name}/avg_var'][:, None, None] + EPS
        ).sqrt()
        return (x * gamma[:, None, None] + beta[:, None, None]).relu()

    def of_class(name, x):
        return normalize(
            name, x, *(state[f'{name}/{part}/W'][label] for part in ('gammas', 'betas'))
        )

    x = conv(state, 'l1', noise).view(len(noise), -1, 4, 4)
    for number in (2, 3):
        block = f'block{number}'
        h = conv(state, f'{block}/c1', double(of_class(f'{block}/b1', x)))
        x = conv(state, f'{block}/c2', of_class(f'{block}/b2', h)) + conv(
            state, f'{block}/c_sc', double(x)
        )
    x = normalize('b4', x, state['b4/gamma'], state['b4/beta'])
    return conv(state, 'l4', x).tanh()


def score(state, img):
    x = img
    for number in (1, 2, 3):
        block = f'block{number}'
        h = conv(state, f'{block}/c1', x if number == 1 else x.relu())
        h = conv(state, f'{block}/c2', h.relu())
        if number == 3:
            x = x + h
        else:
            x = functional.avg_pool2d(h + conv(state, f'{block}/c_sc', x), 2)
    return conv(state, 'l4', x.relu().sum((2, 3)))


def build(blocks='NarrowSNGANDiscResBlock', **generator):
    return MODELS.build(
        dict(
            type='DISPSNGAN',
            prior_dim=6,
            generator=dict(
                type='DISPSNGANGenerator',
                output_scale=16,
                noise_size=NOISE,
                base_channels=WIDTHS[-1],
                channels_cfg=[2, 2],
                norm_eps=EPS,
                **generator,
            ),
            discriminator=dict(
                type='PriorProjectionDiscriminator',
                discriminator=dict(
                    type='ProjDiscriminator',
                    input_scale=16,
                    base_channels=D_WIDTHS[0],
                    channels_cfg=[2, 2],
                    downsample_cfg=[True, False],
                    blocks_cfg=dict(type=blocks),
                ),
            ),
            data_preprocessor=dict(type='DataPreprocessor'),
        )
    ).eval()


@pytest.fixture
def file(gen, disc, tmp_path, tool):
    for name, state in dict(ResNetGenerator=gen, SNResNetProjectionDiscriminator=disc).items():
        single = {
            key: value.astype('int64' if key.endswith('/N') else 'float32')
            for key, value in state.items()
        }
        np.savez(tmp_path / f'{name}_450000.npz', **single)
    out = tmp_path / 'converted.safetensors'
    tool('model_converters/sngan_pfnet.py').main([str(tmp_path), '--out', str(out)])
    return str(out)


def imitate_class(generator, state, label):
    """Let a DISP generator's norms scale and shift as those of one class, for a prior of ones.

    Its norms compute (1 + W_g e) x + W_b e.
    """
    with torch.no_grad():
        generator.prior_projection[0].weight.fill_(0)
        generator.prior_projection[0].weight[0, 0] = 1
        for index, number in enumerate((2, 3)):
            for name in ('1', '2'):
                norm = getattr(generator.conv_blocks[index], f'norm_{name}')
                for head, part, one in ((norm.gain, 'gammas', 1), (norm.bias, 'betas', 0)):
                    target = state[f'block{number}/b{name}/{part}/W'][label] - one
                    head[0].weight.fill_(0)
                    head[0].weight[:, 0] = target


@torch.no_grad()
def test_networks_compute_what_sngan_projection_computes(gen, disc, file):
    gan = build()
    report = load_pretrained(gan, file)
    gan.double()
    gen, disc = tensors(gen), tensors(disc)
    noise, img = torch.randn(3, NOISE).double(), torch.randn(3, 3, 16, 16).double()
    for label in (0, 2):
        imitate_class(gan.generator, gen, label)
        made = gan.generator(noise, prior=torch.ones(3, 6).double())
        assert_close_to_scale(made, generate(gen, noise, label).flip(1))
    # nine spectral norms, whose vectors v are computed from the file's u in float32
    scores = gan.discriminator.discriminator(img.flip(1))
    assert_close_to_scale(scores, score(disc, img), num_terms=100, dtype=torch.float32)
    assert report.layout == 'pfnet SNGAN'
    assert 'RGB in the checkpoint; flipped: generator to BGR, discriminator' in report.colors


def test_classes_are_ignored_and_the_priors_part_is_new(file):
    report = load_pretrained(build(), file)
    assert not report.mismatched
    classes = ('weight_embedding', 'bias_embedding', 'proj_y')
    assert report.ignored and all(any(c in key for c in classes) for key in report.ignored)
    new = [key for key in report.new if key.startswith(('generator.', 'discriminator.'))]
    own = ('prior_projection', '.gain.', '.bias.', 'num_batches_tracked')
    assert new and all(any(part in key for part in own) for key in new)


def test_a_last_layer_without_bias_gets_one_of_zero(disc, tool):
    del disc['l4/b']
    rename = tool('model_converters/sngan_pfnet.py').rename_sngan
    state = rename('discriminator', tensors(disc))
    assert torch.equal(state['decision.bias'], torch.zeros(1))


def test_networks_that_would_compute_something_else_are_refused(file):
    with pytest.raises(ValueError, match=r'conv_1\.conv\.weight.* is \(4, 4, 3, 3\) in the check'):
        load_pretrained(build(blocks='SNGANDiscResBlock'), file)
    with pytest.raises(ValueError, match=r'in the model only .*set with_spectral_norm=False'):
        load_pretrained(build(with_spectral_norm=True), file)
