"""Blocks are conditioned one by one; an image that G can make is found again."""

import copy

import pytest
import torch
from mmagic.models.editors.biggan.biggan_modules import SelfAttentionBlock

from disp_plugin.applications.invert_images import (
    find_generator,
    generate_by_blocks,
    invert_images,
    list_blocks,
)
from tests.numerics import assert_close_to_scale


def draw_latents(gan, num=3):
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
    noise, prior = draw_latents(tiny_gan)
    sampled = tiny_gan(dict(noise=noise, prior=prior, sample_model='orig'))
    expected = torch.stack([sample.fake_img for sample in sampled]) / 127.5 - 1
    made = generate_by_blocks(tiny_gan.generator, noise, project(tiny_gan, prior))
    assert_close_to_scale(made.clamp(-1, 1), expected.clamp(-1, 1))


@torch.no_grad()
def test_a_block_changes_what_comes_after_it_and_nothing_before(tiny_gan):
    noise, prior = draw_latents(tiny_gan)
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
    noise, prior = draw_latents(tiny_gan)
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
    noise, prior = draw_latents(gan)
    made = generate_by_blocks(gan.generator, noise, project(gan, prior))
    assert_close_to_scale(made, gan.generator(noise, prior))


def test_a_baseline_has_no_blocks_to_condition(build_gan):
    gan = build_gan('biggan', prior_dim=0, sampler=None)
    with pytest.raises(ValueError, match='takes no prior'):
        list_blocks(gan.generator)


@torch.no_grad()
def make_query(gan, num=3, spread=0.5):
    """Images from known projected priors, apart from each other by block, and a start near them."""
    rng = torch.Generator().manual_seed(2)
    prior = torch.randn(num, gan.prior_dim, generator=rng)
    noise = torch.randn(num, gan.noise_size, generator=rng)
    generator = find_generator(gan)
    prior_embs = generator.prior_projection(gan.condition(prior))[:, None]
    num_blocks = len(list_blocks(generator))
    away = torch.randn(num, num_blocks, prior_embs.shape[2], generator=rng) * spread
    images = generate_by_blocks(generator, noise, prior_embs + away).clamp(-1, 1)
    return images, prior, noise


def state_of(gan):
    """All that a network could remember."""
    return {
        'tensors': {name: value.clone() for name, value in gan.state_dict().items()},
        'trained': {name: p.requires_grad for name, p in gan.named_parameters()},
        'gradients': {name: p.grad for name, p in gan.named_parameters()},
        'modes': {name: module.training for name, module in gan.named_modules()},
        'random': torch.get_rng_state(),
        'hooks': {name: len(m._forward_pre_hooks) for name, m in gan.named_modules()},
    }


def assert_same(before, after):
    for name in ('trained', 'gradients', 'modes', 'hooks'):
        assert before[name] == after[name], name
    assert torch.equal(before['random'], after['random'])
    for name, value in before['tensors'].items():
        assert torch.equal(value, after['tensors'][name]), name


def test_an_image_made_from_known_projected_priors_is_found_again(tiny_gan):
    images, prior, noise = make_query(tiny_gan)
    result = invert_images(tiny_gan, images, prior, 40, lr=0.05, noise=noise)
    assert (result.losses.min(dim=0).values < result.losses[0] / 5).all(), result.losses
    # the same priors for all blocks cannot do that: they are separate
    assert (result.prior_embs.std(dim=1).mean(dim=1) > 0.05).all()


def test_the_start_is_the_image_of_the_prior_by_its_definition(tiny_gan):
    images, prior, noise = make_query(tiny_gan)
    result = invert_images(tiny_gan, images, prior, 0, noise=noise)
    sampled = tiny_gan(dict(noise=noise, prior=prior))
    start = torch.stack([sample.fake_img for sample in sampled]) / 127.5 - 1
    start = start.clamp(-1, 1)
    expected = (start.double() - images.double()).square().flatten(1).mean(dim=1)
    assert result.losses.shape == (1, 3)
    assert_close_to_scale(result.losses[0], expected)
    assert_close_to_scale(result.images, start)


@pytest.mark.parametrize('training', [False, True])
def test_the_gan_and_the_random_numbers_are_as_they_were(tiny_gan, training):
    images, prior, _ = make_query(tiny_gan)
    tiny_gan.train(training)
    next(tiny_gan.generator.children()).train(not training)  # such as a frozen part
    next(tiny_gan.generator.parameters()).requires_grad_(False)
    for sample_model in ('ema', 'orig'):
        before = state_of(tiny_gan)
        with torch.no_grad():  # as evaluation does
            result = invert_images(tiny_gan, images, prior, 3, sample_model=sample_model)
        assert_same(before, state_of(tiny_gan))
        assert not torch.equal(result.losses[0], result.losses[-1])


def test_priors_are_normalized_as_in_training(build_gan):
    gan = build_gan('sngan', prior_norm='l2')
    images, prior, _ = make_query(gan)
    losses = invert_images(gan, images, prior, 0).losses
    assert_close_to_scale(invert_images(gan, images, prior * 7, 0).losses, losses)
    by_hand = prior / prior.norm(dim=1, keepdim=True) * gan.prior_dim**0.5
    other = invert_images(build_gan('sngan'), images, by_hand, 0).losses
    assert_close_to_scale(other, losses)


def test_an_image_is_inverted_alike_whatever_others_are_there(tiny_gan):
    images, prior, _ = make_query(tiny_gan)
    together = invert_images(tiny_gan, images, prior, 6)
    for index in (0, 2):
        rows = slice(index, index + 1)
        alone = invert_images(tiny_gan, images[rows], prior[rows], 6, batch_size=2)
        torch.testing.assert_close(alone.losses, together.losses[:, rows], rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(alone.images, together.images[rows], rtol=1e-2, atol=1e-2)


def test_the_best_step_is_kept_of_each_image(build_gan):
    gan = build_gan('biggan')
    images, prior, noise = make_query(gan)
    result = invert_images(gan, images, prior, 12, lr=1.0, noise=noise)  # far too high
    steps = result.losses.argmin(dim=0)
    assert len(set(steps.tolist())) > 1 and (result.losses[-1] > result.losses.min(0).values).any()
    error = (result.images - images).square().mean(dim=(1, 2, 3))
    assert_close_to_scale(error, result.losses.min(dim=0).values)
    made = generate_by_blocks(find_generator(gan), result.noise, result.prior_embs)
    assert_close_to_scale(made.detach().clamp(-1, 1), result.images)


def test_the_first_step_of_adam_has_its_length_in_every_block(build_gan):
    """Adam's first step is lr times the sign of the gradient: every block moves, by itself."""
    gan = build_gan('sngan')
    images, prior, noise = make_query(gan)
    start = invert_images(gan, images, prior, 0, noise=noise).prior_embs
    moved = invert_images(gan, images, prior, 1, lr=1e-4, noise=noise).prior_embs - start
    torch.testing.assert_close(moved.abs(), torch.full_like(moved, 1e-4), rtol=0.05, atol=1e-6)
    signs = moved.sign()
    assert any(not torch.equal(signs[:, 0], signs[:, k]) for k in range(1, signs.shape[1]))


def test_noise_is_one_draw_of_the_seed(build_gan):
    gan = build_gan('biggan')
    images, prior, _ = make_query(gan)
    first = invert_images(gan, images, prior, 0, seed=4)
    rng = torch.Generator().manual_seed(4)
    assert torch.equal(first.noise, torch.randn(1, gan.noise_size, generator=rng).expand(3, -1))
    assert not torch.equal(invert_images(gan, images, prior, 0, seed=5).losses, first.losses)


def test_what_cannot_be_inverted_is_refused(build_gan):
    gan = build_gan('biggan')
    images, prior, _ = make_query(gan)
    for arguments, message in (
        ((images * 127, prior), r'queries must be in \[-1, 1\]'),
        ((images, prior[:2]), r'prior of 3 queries must be of shape \(3, 6\)'),
        ((images * float('nan'), prior), r'queries must be in \[-1, 1\]'),
        ((images, torch.full_like(prior, float('nan'))), 'prior of the queries must be finite'),
        ((images[..., :16], prior), r'makes images of shape \(3, 32, 32\)'),
    ):
        with pytest.raises(ValueError, match=message):
            invert_images(gan, *arguments, 1)
    for options, message in (
        (dict(num_steps=-1), 'number of steps must be at least 0'),
        (dict(lr=0.0), 'learning rate must be positive'),
        (dict(batch_size=0), 'batch size must be at least 1'),
        (dict(noise=images[:, 0, 0]), 'noise of 3 queries'),
        (dict(noise=torch.full((1, gan.noise_size), float('inf'))), 'noise of the queries must be'),
        (dict(sample_model='best'), "must be 'ema' or 'orig'"),
    ):
        with pytest.raises(ValueError, match=message):
            invert_images(gan, images, prior, **options)
    baseline = build_gan('sngan', prior_dim=0, sampler=None)
    with pytest.raises(ValueError, match='takes no prior'):
        invert_images(baseline, images, prior)


def test_a_gan_that_diverged_is_refused(build_gan):
    gan = copy.deepcopy(build_gan('biggan'))
    images, prior, _ = make_query(gan)
    next(find_generator(gan).noise2feat.parameters()).data[0] = float('nan')
    with pytest.raises(ValueError, match='makes images that are not finite'):
        invert_images(gan, images, prior, 1)
