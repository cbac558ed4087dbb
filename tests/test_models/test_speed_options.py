"""Memory format and compiling: what they change, what they leave alone, what refuses them."""

import pytest
import torch
from mmagic.registry import MODELS

from tests.numerics import assert_close_to_scale

D = 6


def build(kind='BigGAN', **options):
    torch.manual_seed(0)
    if kind == 'StyleGAN2':
        networks = dict(
            generator=dict(out_size=8, channel_max=8, style_channels=8, num_mlps=1),
            discriminator=dict(type='SizedStyleGAN2Discriminator', in_size=8, channel_max=8),
        )
    else:
        name = 'BigGANDiscriminator' if kind == 'BigGAN' else 'ProjDiscriminator'
        networks = dict(
            generator=dict(output_scale=32, base_channels=4, noise_size=8),
            discriminator=dict(type=name, input_scale=32, base_channels=4),
        )
    return MODELS.build(
        dict(
            type=f'DISP{kind}',
            prior_dim=D,
            generator=dict(type=f'DISP{kind}Generator', **networks['generator']),
            discriminator=dict(
                type='PriorProjectionDiscriminator', discriminator=networks['discriminator']
            ),
            ema_config=dict(),
            **options,
        )
    )


def test_channels_last_changes_the_layout_and_not_the_scores():
    plain, last = build('SNGAN'), build('SNGAN', channels_last=True)
    noise, prior = torch.randn(4, plain.generator.noise_size), torch.randn(4, D)
    for gan in (plain, last):
        gan.eval()
    images = [gan.generator(noise, prior) for gan in (plain, last)]
    assert_close_to_scale(*images)
    scores = [gan.discriminator(images[0], prior) for gan in (plain, last)]
    assert_close_to_scale(*scores)
    for network in (last.generator, last.discriminator, last.generator_ema):
        kernels = [p for p in network.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1]
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)
    assert list(last.state_dict()) == list(plain.state_dict())


@pytest.mark.slow
def test_the_compiled_generator_is_used_and_keeps_images_gradients_and_names():
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    plain, compiled = build(), build(compile_generator=dict(backend=backend))
    noise, prior = torch.randn(4, plain.generator.noise_size), torch.randn(4, D)
    images = [gan.generator(noise, prior) for gan in (plain, compiled)]
    assert graphs
    assert_close_to_scale(*images)
    for image in images:
        image.square().sum().backward()
    for value, other in zip(
        plain.generator.parameters(), compiled.generator.parameters(), strict=True
    ):
        assert_close_to_scale(value.grad, other.grad)
    assert list(compiled.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize(
    ('kind', 'option', 'reason'),
    [
        ('StyleGAN2', 'channels_last', 'five dimensions'),
        ('StyleGAN2', 'compile_generator', 'differentiates the generator twice'),
        ('BigGAN', 'channels_last', 'self-attention'),
    ],
)
def test_what_fails_is_refused_with_the_reason(kind, option, reason):
    with pytest.raises(ValueError, match=f'DISP{kind} takes no {option}: .*{reason}'):
        build(kind, **{option: True})
