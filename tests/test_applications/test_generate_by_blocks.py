"""Each resolution block is conditioned on its own, and all alike give G(z | C(x))."""

import pytest
import torch
from mmagic.models.editors.biggan.biggan_modules import SelfAttentionBlock

from disp_plugin.applications.invert_images import generate_by_blocks, list_blocks


def draw(gan, num=3):
    rng = torch.Generator().manual_seed(1)
    noise = torch.randn(num, gan.noise_size, generator=rng)
    return noise, torch.randn(num, gan.prior_dim, generator=rng)


@torch.no_grad()
def project(gan, prior):
    """The same projected prior for every block."""
    num_blocks = len(list_blocks(gan.generator))
    return gan.generator.prior_projection(prior)[:, None].repeat(1, num_blocks, 1)


@torch.no_grad()
def test_the_same_projection_for_all_blocks_is_the_generator_itself(tiny_gan):
    noise, prior = draw(tiny_gan)
    sampled = tiny_gan(dict(noise=noise, prior=prior, sample_model='orig'))
    expected = torch.stack([sample.fake_img for sample in sampled]) / 127.5 - 1
    made = generate_by_blocks(tiny_gan.generator, noise, project(tiny_gan, prior))
    torch.testing.assert_close(made.clamp(-1, 1), expected.clamp(-1, 1), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_block_changes_what_comes_after_it_and_nothing_before(tiny_gan):
    noise, prior = draw(tiny_gan)
    generator = tiny_gan.generator
    blocks = list_blocks(generator)
    outputs = []
    handles = [
        block[0].register_forward_hook(lambda layer, args, out: outputs.append(out))
        for block in blocks
    ]
    prior_embs = project(tiny_gan, prior)
    generate_by_blocks(generator, noise, prior_embs)
    base = outputs.copy()
    for index in range(len(blocks)):
        outputs.clear()
        moved = prior_embs.clone()
        moved[:, index] += 1
        generate_by_blocks(generator, noise, moved)
        same = [torch.equal(a, b) for a, b in zip(base, outputs, strict=True)]
        assert same == [k < index for k in range(len(blocks))]
    for handle in handles:
        handle.remove()


def test_every_layer_that_takes_a_condition_is_in_one_block(tiny_gan):
    """Were one left out, it would see the zeros that stand for the prior."""
    noise, prior = draw(tiny_gan)
    prior_embs = project(tiny_gan, prior)
    seen = []
    layers = [layer for block in list_blocks(tiny_gan.generator) for layer in block]
    assert len({id(layer) for layer in layers}) == len(layers)
    handles = [
        module.register_forward_pre_hook(lambda module, args: seen.append(module))
        for module in tiny_gan.generator.modules()
        if type(module).__name__
        in ('BigGANGenResBlock', 'SNGANGenResBlock', 'ModulatedStyleConv', 'ModulatedToRGB')
    ]
    generate_by_blocks(tiny_gan.generator, noise, prior_embs)
    for handle in handles:
        handle.remove()
    assert {id(layer) for layer in seen} == {id(layer) for layer in layers}


def test_a_self_attention_among_the_blocks_is_none_of_them(build_gan):
    arch = dict(
        in_channels=[16, 16], out_channels=[16, 16], upsample=[True, True], resolution=[8, 16]
    )
    generator = dict(
        type='DISPBigGANGenerator',
        output_scale=16,
        noise_size=24,
        base_channels=8,
        shared_dim=8,
        arch_cfg=dict(arch, attention=[True, False]),
    )
    gan = build_gan('biggan', generator=generator, discriminator=None)
    assert any(isinstance(block, SelfAttentionBlock) for block in gan.generator.conv_blocks)
    assert len(list_blocks(gan.generator)) == 2
    noise, prior = draw(gan)
    made = generate_by_blocks(gan.generator, noise, project(gan, prior))
    torch.testing.assert_close(made, gan.generator(noise, prior))


def test_nothing_stays_behind_even_after_an_error(tiny_gan):
    noise, prior = draw(tiny_gan)
    prior_embs = project(tiny_gan, prior)
    with pytest.raises(RuntimeError):
        generate_by_blocks(tiny_gan.generator, noise, prior_embs[:2])
    generate_by_blocks(tiny_gan.generator, noise, prior_embs)
    assert not any(module._forward_pre_hooks for module in _layers(tiny_gan.generator))


def _layers(generator):
    return [layer for block in list_blocks(generator) for layer in block]


def test_a_baseline_is_refused(build_gan):
    gan = build_gan('biggan', prior_dim=0, sampler=None)
    with pytest.raises(ValueError, match='takes no prior'):
        list_blocks(gan.generator)
