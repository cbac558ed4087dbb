"""Random weights under the names of NVlabs's StyleGAN2."""

import pytest
import torch


def make_weights(size=16, channel_max=512, w_dim=512, num_mlps=8, c_dim=0):
    """State dicts of a generator and a discriminator, as stylegan2-ada-pytorch's networks have."""

    def normal(*shape):
        return torch.randn(shape)

    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = taps.outer(taps) / 64
    sizes = [2**power for power in range(2, size.bit_length())]
    width = {res: min(32768 // res, channel_max) for res in sizes}
    gen = {'mapping.w_avg': normal(w_dim)}
    for index in range(num_mlps):
        wide = w_dim * 2 if c_dim and index == 0 else w_dim
        gen[f'mapping.fc{index}.weight'] = normal(w_dim, wide) * 100
        gen[f'mapping.fc{index}.bias'] = normal(w_dim) * 10
    if c_dim:
        gen['mapping.embed.weight'] = normal(w_dim, c_dim)
        gen['mapping.embed.bias'] = normal(w_dim)
    gen['synthesis.b4.const'] = normal(width[4], 4, 4)
    for res in sizes:
        block = f'synthesis.b{res}'
        gen[f'{block}.resample_filter'] = kernel
        for conv in ('conv1',) if res == 4 else ('conv0', 'conv1'):
            inside = width[res // 2] if conv == 'conv0' else width[res]
            gen[f'{block}.{conv}.weight'] = normal(width[res], inside, 3, 3)
            gen[f'{block}.{conv}.noise_strength'] = normal()
            gen[f'{block}.{conv}.bias'] = normal(width[res])
            gen[f'{block}.{conv}.resample_filter'] = kernel
            gen[f'{block}.{conv}.noise_const'] = normal(res, res)
            gen[f'{block}.{conv}.affine.weight'] = normal(inside, w_dim)
            gen[f'{block}.{conv}.affine.bias'] = normal(inside) + 1
        gen[f'{block}.torgb.weight'] = normal(3, width[res], 1, 1)
        gen[f'{block}.torgb.bias'] = normal(3)
        gen[f'{block}.torgb.affine.weight'] = normal(width[res], w_dim)
        gen[f'{block}.torgb.affine.bias'] = normal(width[res]) + 1
    disc = {f'b{size}.fromrgb.weight': normal(width[size], 3, 1, 1)}
    disc[f'b{size}.fromrgb.bias'] = normal(width[size])
    disc[f'b{size}.fromrgb.resample_filter'] = kernel
    for res in sizes[1:]:
        disc[f'b{res}.resample_filter'] = kernel
        for conv, outside in (('conv0', width[res]), ('conv1', width[res // 2])):
            disc[f'b{res}.{conv}.weight'] = normal(outside, width[res], 3, 3)
            disc[f'b{res}.{conv}.bias'] = normal(outside)
            disc[f'b{res}.{conv}.resample_filter'] = kernel
        disc[f'b{res}.skip.weight'] = normal(width[res // 2], width[res], 1, 1)
        disc[f'b{res}.skip.resample_filter'] = kernel
    disc['b4.conv.weight'] = normal(width[4], width[4] + 1, 3, 3)
    disc['b4.conv.bias'] = normal(width[4])
    disc['b4.conv.resample_filter'] = kernel
    disc['b4.fc.weight'] = normal(width[4], width[4] * 16)
    disc['b4.fc.bias'] = normal(width[4])
    disc['b4.out.weight'] = normal(1, width[4])
    disc['b4.out.bias'] = normal(1)
    return gen, disc


@pytest.fixture(scope='session')
def make_official_weights():
    """A function (size, channel_max, w_dim, num_mlps, c_dim) -> state dicts of G and D."""
    return make_weights
