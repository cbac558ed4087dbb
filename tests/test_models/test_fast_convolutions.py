"""Faster convolutions compute what mmagic's blocks do, layer by layer and in whole networks."""

import copy

import pytest
import torch
from mmagic.models.editors.biggan.biggan_modules import (
    BigGANDiscResBlock,
    BigGANGenResBlock,
    SelfAttentionBlock,
)
from mmagic.models.editors.sagan.sagan_modules import (
    SNGANDiscHeadResBlock,
    SNGANDiscResBlock,
    SNGANGenResBlock,
)
from torch import nn

from disp_plugin.models.fast_convolutions import fuse_convolutions, keep_channels_last
from tests.gans import draw, make_gan
from tests.numerics import assert_close_to_scale

LABELS = torch.eye(4)
BLOCKS = {
    'sngan generator': (
        lambda style: SNGANGenResBlock(
            6, 5, use_cbn=False, with_spectral_norm=True, sn_style=style
        ),
        (),
    ),
    'sngan discriminator': (
        lambda style: SNGANDiscResBlock(6, 5, downsample=True, sn_style=style),
        (),
    ),
    'sngan head': (lambda style: SNGANDiscHeadResBlock(6, 5, sn_style=style), ()),
    'biggan generator': (lambda style: BigGANGenResBlock(6, 5, 4, sn_style=style), (LABELS,)),
    'biggan discriminator': (
        lambda style: BigGANDiscResBlock(6, 5, sn_style=style, act_cfg=dict(type='ReLU')),
        (),
    ),
    'biggan head': (
        lambda style: BigGANDiscResBlock(
            6, 5, sn_style=style, is_head_block=True, act_cfg=dict(type='ReLU')
        ),
        (),
    ),
}


@pytest.mark.parametrize('style', ['torch', 'ajbrock'])
@pytest.mark.parametrize('name', BLOCKS)
@pytest.mark.parametrize('size', [(6, 8), (7, 5)])
def test_fused_blocks_compute_what_mmagics_do(name, style, size):
    """Outputs, gradients of the input and of each weight, spectral norms and names."""
    build, args = BLOCKS[name]
    block = build(style).double()
    fused = copy.deepcopy(block)
    fuse_convolutions(fused)
    assert not any(isinstance(part, nn.Upsample | nn.AvgPool2d) for part in fused.modules())
    image, args = torch.randn(4, 6, *size, dtype=torch.float64), [arg.double() for arg in args]
    results = []
    for part in (block, fused):
        x = image.clone().requires_grad_()
        out = part(x, *args)
        (gradient,) = torch.autograd.grad(out.sin().sum(), x, create_graph=True)
        gradient.square().sum().backward()  # as a gradient penalty does
        # in one vector: some gradients, as of a bias before a batch norm, are nothing but rounding
        grads = [p.grad.flatten() for p in part.parameters() if p.grad is not None]
        results.append((out, torch.cat([gradient.flatten(), *grads])))
    for expected, actual in zip(*results, strict=True):
        assert_close_to_scale(actual, expected)
    assert fused.state_dict().keys() == block.state_dict().keys()
    for actual, expected in zip(fused.buffers(), block.buffers(), strict=True):
        assert_close_to_scale(actual.double(), expected.double())


@pytest.mark.parametrize('options', [dict(scale_factor=4), dict(scale_factor=2, mode='bilinear')])
def test_another_way_of_resampling_stays(options):
    block = BigGANGenResBlock(6, 5, 4, sn_style='torch')
    block.upsample_layer = nn.Upsample(**options)
    fuse_convolutions(block)
    assert isinstance(block.upsample_layer, nn.Upsample)
    assert type(block.conv1.conv) is nn.Conv2d


def test_mmagics_attention_takes_channels_last():
    attention = SelfAttentionBlock(16, sn_style='ajbrock').double()
    attention.gamma.data.fill_(0.5)
    last = copy.deepcopy(attention)
    keep_channels_last(last)
    x = torch.randn(2, 16, 6, 6, dtype=torch.float64)
    out = last(x)
    assert_close_to_scale(out, attention(x))
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('name', ['sngan', 'biggan', 'stylegan2'])
def test_options_of_speed_keep_images_and_scores(name):
    gans = []
    for options in (dict(fuse_resampling=False), dict(channels_last=True)):
        torch.manual_seed(0)
        gan = make_gan(name, **options).eval()
        gans.append(gan if name == 'stylegan2' else gan.double())
    plain, fast = gans
    fast.load_state_dict(plain.state_dict())
    noise, prior = (part.to(next(plain.parameters()).dtype) for part in draw(plain))
    kwargs = dict(randomize_noise=False) if name == 'stylegan2' else {}
    images = [gan.generator(noise, prior=prior, **kwargs) for gan in gans]
    assert_close_to_scale(images[1], images[0])
    scores = [gan.discriminator(images[0], prior) for gan in gans]
    assert_close_to_scale(scores[1], scores[0])
    seen = []
    for conv in (part for part in fast.modules() if isinstance(part, nn.Conv2d)):
        conv.register_forward_hook(lambda conv, args, out: seen.append(args[0]))
    fast.discriminator(images[0], prior)
    assert seen and all(x.is_contiguous(memory_format=torch.channels_last) for x in seen)
