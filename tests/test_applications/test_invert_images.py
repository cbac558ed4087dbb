"""Blocks are conditioned one by one; an image that G can make is found again."""

import pytest
import torch
from mmagic.models.editors.biggan.biggan_modules import BigGANGenResBlock, SelfAttentionBlock
from mmagic.models.editors.sagan.sagan_modules import SNGANGenResBlock
from mmagic.models.editors.stylegan2.stylegan2_modules import ModulatedStyleConv, ModulatedToRGB
from mmagic.registry import MODELS

from disp_plugin.applications.invert_images import (
    find_generator,
    generate_by_blocks,
    invert_images,
    list_blocks,
)
from tests.gans import draw
from tests.numerics import assert_close_to_scale

CONDITIONED = (BigGANGenResBlock, SNGANGenResBlock, ModulatedStyleConv, ModulatedToRGB)

# Adam divides a gradient by its size: what rounds differently grows by at most lr / eps.
ADAM_TERMS = 10_000 * 0.1 / 1e-8


@torch.no_grad()
def project(generator, prior):
    """The same projected prior for every block."""
    return generator.prior_projection(prior)[:, None].repeat(1, len(list_blocks(generator)), 1)


def show(gan, noise, prior, **options):
    """The GAN's own images, clamped to [-1, 1]."""
    with torch.no_grad():
        sampled = gan(dict(noise=noise, prior=prior, **options))
    return (torch.stack([sample.fake_img for sample in sampled]) / 127.5 - 1).clamp(-1, 1)


@torch.no_grad()
def test_the_same_projection_for_all_blocks_is_the_generator_itself(tiny_gan):
    noise, prior = draw(tiny_gan)
    made = generate_by_blocks(tiny_gan.generator, noise, project(tiny_gan.generator, prior))
    assert_close_to_scale(made.clamp(-1, 1), show(tiny_gan, noise, prior, sample_model='orig'))


@torch.no_grad()
def test_a_block_changes_what_comes_after_it_and_nothing_before(tiny_gan):
    noise, prior = draw(tiny_gan)
    generator = tiny_gan.generator
    blocks, outputs = list_blocks(generator), []
    for block in blocks:
        block[0].register_forward_hook(lambda layer, args, out: outputs.append(out))
    prior_embs = project(generator, prior)
    generate_by_blocks(generator, noise, prior_embs)
    base = outputs.copy()
    for index in range(len(blocks)):
        outputs.clear()
        moved = prior_embs.clone()
        moved[:, index] += 1
        generate_by_blocks(generator, noise, moved)
        same = [torch.equal(a, b) for a, b in zip(base, outputs, strict=True)]
        assert same == [k < index for k in range(len(blocks))]


def test_every_layer_that_takes_a_condition_is_in_one_block(tiny_gan):
    """Were one left out, it would see the zeros that stand for the prior."""
    noise, prior = draw(tiny_gan)
    layers = [layer for block in list_blocks(tiny_gan.generator) for layer in block]
    assert len({id(layer) for layer in layers}) == len(layers)
    seen = set()
    for module in tiny_gan.generator.modules():
        if isinstance(module, CONDITIONED):
            module.register_forward_pre_hook(lambda module, args: seen.add(id(module)))
    generate_by_blocks(tiny_gan.generator, noise, project(tiny_gan.generator, prior))
    assert seen == {id(layer) for layer in layers}


def test_a_self_attention_among_the_blocks_is_none_of_them():
    arch = dict(
        in_channels=[16, 16], out_channels=[16, 16], upsample=[True, True], resolution=[8, 16]
    )
    generator = MODELS.build(
        dict(
            type='DISPBigGANGenerator',
            output_scale=16,
            noise_size=24,
            base_channels=8,
            prior_dim=6,
            arch_cfg=dict(arch, attention=[True, False]),
        )
    ).eval()
    assert any(isinstance(block, SelfAttentionBlock) for block in generator.conv_blocks)
    assert len(list_blocks(generator)) == 2
    noise, prior = draw(generator)
    made = generate_by_blocks(generator, noise, project(generator, prior))
    assert_close_to_scale(made, generator(noise, prior))


@torch.no_grad()
def make_query(gan, num=3, dtype=torch.float32):
    """Images from known projected priors, apart from each other by block, and a start near them."""
    rng = torch.Generator().manual_seed(2)
    sizes = gan.prior_dim, gan.noise_size
    prior, noise = (torch.randn(num, size, generator=rng).to(dtype) for size in sizes)
    generator = find_generator(gan.to(dtype))
    prior_embs = project(generator, gan.normalize_prior(prior).to(dtype))
    away = torch.randn(prior_embs.shape, generator=rng).to(dtype) * 0.5
    images = generate_by_blocks(generator, noise, prior_embs + away).clamp(-1, 1)
    return images, prior, noise


def state_of(gan):
    """All that a network could remember, as values that can be compared."""
    return {
        'tensors': {name: value.tolist() for name, value in gan.state_dict().items()},
        'trained': {name: p.requires_grad for name, p in gan.named_parameters()},
        'gradients': {name: p.grad for name, p in gan.named_parameters()},
        'modes': {name: module.training for name, module in gan.named_modules()},
        'random': torch.get_rng_state().tolist(),
        'hooks': {name: len(m._forward_pre_hooks) for name, m in gan.named_modules()},
    }


def test_an_image_made_from_known_projected_priors_is_found_again(tiny_gan):
    images, prior, noise = make_query(tiny_gan)
    result = invert_images(tiny_gan, images, prior, 40, lr=0.05, noise=noise)
    assert (result.losses.min(dim=0).values < result.losses[0] / 5).all(), result.losses
    # the same priors for all blocks cannot do that: they are separate
    assert (result.prior_embs.std(dim=1).mean(dim=1) > 0.05).all()


def test_the_start_is_the_image_of_the_prior_by_its_definition(tiny_gan):
    images, prior, noise = make_query(tiny_gan)
    result = invert_images(tiny_gan, images, prior, 0, noise=noise)
    start = show(tiny_gan, noise, prior)
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
        assert state_of(tiny_gan) == before
        assert not torch.equal(result.losses[0], result.losses[-1])


def test_priors_are_normalized_as_in_training(build_gan):
    gan = build_gan('sngan', prior_norm='l2')
    images, prior, _ = make_query(gan)
    losses = invert_images(gan, images, prior, 0).losses
    assert_close_to_scale(invert_images(gan, images, prior * 7, 0).losses, losses)
    by_hand = prior / prior.norm(dim=1, keepdim=True) * gan.prior_dim**0.5
    other = invert_images(build_gan('sngan'), images, by_hand, 0).losses
    assert_close_to_scale(other, losses)


@pytest.mark.parametrize(
    ('kind', 'num_steps', 'dtype', 'num_terms'),
    [
        ('biggan', 6, torch.float64, ADAM_TERMS),
        ('sngan', 6, torch.float64, ADAM_TERMS),
        # its images are float32 whatever its weights are, which Adam is not comparable in
        ('stylegan2', 0, torch.float32, 10_000),
    ],
)
def test_an_image_is_inverted_alike_whatever_others_are_there(
    build_gan, kind, num_steps, dtype, num_terms
):
    gan = build_gan(kind)
    images, prior, noise = make_query(gan, dtype=dtype)
    together = invert_images(gan, images, prior, num_steps, noise=noise)
    assert together.losses.dtype == dtype
    for index in (0, 2):
        row = slice(index, index + 1)
        alone = invert_images(gan, images[row], prior[row], num_steps, noise=noise[row])
        assert_close_to_scale(alone.losses, together.losses[:, row], num_terms)
        assert_close_to_scale(alone.images, together.images[row], num_terms)


def test_the_best_step_is_kept_of_each_image(build_gan):
    gan = build_gan('biggan')
    images, prior, noise = make_query(gan)
    result = invert_images(gan, images, prior, 12, lr=0.2, noise=noise)  # too high for one
    steps = result.losses.argmin(dim=0)
    assert len(set(steps.tolist())) > 1 and (result.losses[-1] > result.losses.min(0).values).any()
    error = (result.images - images).square().mean(dim=(1, 2, 3))
    assert_close_to_scale(error, result.losses.min(dim=0).values)
    made = generate_by_blocks(find_generator(gan), result.noise, result.prior_embs)
    assert_close_to_scale(made.detach().clamp(-1, 1), result.images)


def test_the_first_step_is_adam_s_for_every_block_by_itself(build_gan):
    gan, lr = build_gan('sngan'), 1e-4
    images, prior, noise = make_query(gan, dtype=torch.float64)
    start = invert_images(gan, images, prior, 0, noise=noise).prior_embs
    after = invert_images(gan, images, prior, 1, lr=lr, noise=noise).prior_embs
    free = start.clone().requires_grad_()
    made = generate_by_blocks(find_generator(gan), noise, free)
    (gradient,) = torch.autograd.grad((made - images).square().mean(dim=(1, 2, 3)).sum(), free)
    assert_close_to_scale(after, start - lr * gradient / (gradient.abs() + 1e-8))
    signs = gradient.sign()
    assert any(not torch.equal(signs[:, 0], signs[:, k]) for k in range(1, signs.shape[1]))


def test_noise_is_one_draw_of_the_seed(build_gan):
    gan = build_gan('biggan')
    images, prior, _ = make_query(gan)
    first = invert_images(gan, images, prior, 0, seed=4)
    rng = torch.Generator().manual_seed(4)
    assert torch.equal(first.noise, torch.randn(1, gan.noise_size, generator=rng).expand(3, -1))
    assert not torch.equal(invert_images(gan, images, prior, 0, seed=5).losses, first.losses)


@pytest.mark.parametrize(
    ('name', 'generator'),
    [('sngan', {}), ('biggan', {}), ('biggan', dict(modulation_dim=0))],
)
def test_a_self_modulated_baseline_is_inverted_by_what_its_blocks_take_of_the_noise(
    name, generator, build_gan
):
    gan = build_gan(name, prior_dim=0, sampler=None, generator=generator)
    noise = torch.randn(3, gan.noise_size)
    images = show(gan, torch.randn(3, gan.noise_size), None)
    start = invert_images(gan, images, None, 0, noise=noise)
    # at first it is the generator itself
    assert_close_to_scale(start.images, show(gan, noise, None))
    if generator:  # its chunk of the noise for each block, the first is for the input
        chunk = start.prior_embs.shape[2]
        assert torch.equal(start.prior_embs.flatten(1), noise[:, chunk:])
    else:
        assert all(torch.equal(own, noise) for own in start.prior_embs.unbind(1))
    found = invert_images(gan, images, None, 30, noise=noise)
    assert (found.losses.min(dim=0).values < 0.9 * start.losses[0]).all()
    moved = found.prior_embs - start.prior_embs
    assert not torch.allclose(moved[:, 0], moved[:, 1])  # each on its own


def test_blocks_without_a_condition_cannot_be_inverted(build_gan):
    plain = build_gan('biggan', prior_dim=0, sampler=None, generator=dict(split_noise=False))
    for gan in (plain, build_gan('stylegan2', prior_dim=0, sampler=None)):
        with pytest.raises(ValueError, match='its blocks have none to be given'):
            invert_images(gan, torch.zeros(1, 3, gan.image_size, gan.image_size), None, 1)


def test_what_cannot_be_inverted_is_refused(build_gan):
    gan = build_gan('biggan')
    images, prior, _ = make_query(gan)
    nan = torch.full_like(prior, float('nan'))
    for changes, message in (
        (dict(images=images * 127), r'queries must be in \[-1, 1\]'),
        (dict(images=images * float('nan')), r'queries must be in \[-1, 1\]'),
        (dict(images=images[..., :16]), r'makes images of shape \(3, 32, 32\)'),
        (dict(prior=prior[:2]), r'prior of the queries must be of shape \(3, 6\)'),
        (dict(prior=None), 'this GAN needs the priors of the queries'),
        (dict(prior=nan), 'prior of the queries must be finite'),
        (dict(num_steps=-1), 'number of steps must be at least 0'),
        (dict(lr=0.0), 'learning rate must be positive'),
        (dict(batch_size=0), 'batch size must be at least 1'),
        (dict(noise=images[:, 0, 0]), r'noise of the queries must be of shape \(3, 16\)'),
        (dict(noise=torch.full((1, gan.noise_size), float('inf'))), 'noise of the queries must be'),
        (dict(sample_model='best'), "must be 'ema' or 'orig'"),
        (dict(gan=build_gan('sngan', prior_dim=0, sampler=None)), 'takes no prior'),
    ):
        with pytest.raises(ValueError, match=message):
            invert_images(**{**dict(gan=gan, images=images, prior=prior, num_steps=1), **changes})
    next(find_generator(gan).noise2feat.parameters()).data[0] = float('nan')
    with pytest.raises(ValueError, match='makes images that are not finite'):
        invert_images(gan, images, prior, 1)
