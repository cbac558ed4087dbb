"""Generators against the class-conditional ones of mmagic, and against formulas."""

import pytest
import torch
from mmagic.models.editors.biggan.biggan_modules import BigGANConditionBN
from mmagic.registry import MODELS

from disp_plugin.models import DISPBigGANGenerator, DISPSNGANGenerator, PriorConditionBN
from disp_plugin.models.prior_modules import self_modulate
from tests.numerics import assert_close_to_scale

BIGGAN = dict(output_scale=32, base_channels=4, noise_size=16, sn_style='torch')
SNGAN = dict(output_scale=32, base_channels=8, noise_size=16)


def test_biggan_with_one_hot_priors_is_mmagics_class_conditional_biggan():
    """A one-hot prior picks a row of G_emb as a label picks a row of the class embedding."""
    upstream = MODELS.build(dict(type='BigGANGenerator', num_classes=4, shared_dim=6, **BIGGAN))
    ours = DISPBigGANGenerator(prior_dim=4, shared_dim=6, **BIGGAN)
    keys = ours.load_state_dict(upstream.state_dict(), strict=False)
    assert keys.missing_keys == ['prior_projection.0.weight']
    assert keys.unexpected_keys == ['shared_embedding.weight']
    ours.prior_projection[0].weight.data = upstream.shared_embedding.weight.data.T.clone()
    noise, label = torch.randn(4, upstream.noise_size), torch.tensor([2, 0, 3, 3])
    expected = upstream.eval()(noise, label=label)
    actual = ours.eval()(noise, torch.eye(4)[label])
    assert_close_to_scale(actual, expected)


def test_sngan_with_one_hot_priors_is_mmagics_class_conditional_sngan():
    options = dict(SNGAN, init_cfg=dict(type='studio'))
    upstream = MODELS.build(dict(type='SNGANGenerator', num_classes=4, **options))
    ours = DISPSNGANGenerator(prior_dim=4, prior_emb_dim=4, **options)
    keys = ours.load_state_dict(upstream.state_dict(), strict=False)
    assert all('embedding' in key for key in keys.unexpected_keys)
    ours.prior_projection[0].weight.data = torch.eye(4)
    pairs = zip(ours.conv_blocks, upstream.conv_blocks, strict=True)
    for mine, theirs in pairs:
        for name in ('norm_1', 'norm_2'):
            norm, embedding = getattr(mine, name), getattr(theirs, name)
            norm.gain[0].weight.data = embedding.weight_embedding.weight.data.T.clone()
            norm.bias[0].weight.data = embedding.bias_embedding.weight.data.T.clone()
    noise, label = torch.randn(4, 16), torch.tensor([2, 0, 3, 3])
    expected = upstream.eval()(noise, label=label)
    assert_close_to_scale(ours.eval()(noise, torch.eye(4)[label]), expected)


def test_condition_bn_is_its_formula():
    norm = PriorConditionBN(torch.nn.BatchNorm2d(3, affine=False), 3, 5).double()
    x = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    prior_emb = torch.randn(4, 5, dtype=torch.float64)
    mean = x.mean(dim=(0, 2, 3), keepdim=True)
    var = ((x - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)
    normal = (x - mean) / (var + 1e-5).sqrt()
    gain, bias = (
        (prior_emb @ part[0].weight.T)[:, :, None, None] for part in (norm.gain, norm.bias)
    )
    assert_close_to_scale(norm(x, prior_emb), normal * (1 + gain) + bias)


@pytest.mark.parametrize(
    'norm',
    [
        PriorConditionBN(torch.nn.BatchNorm2d(3, affine=False), 3, 5),
        BigGANConditionBN(3, 5, with_spectral_norm=False),
    ],
)
def test_self_modulation_is_its_formula(norm):
    self_modulate(norm, 3, noise_size=5, modulation_dim=4)
    parts = norm.double().hidden[0], norm.gain[0], norm.bias[0]
    assert all(not part.bias.any() for part in parts)  # at first
    for part in parts:
        torch.nn.init.normal_(part.bias)
    x = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    noise = torch.randn(4, 5, dtype=torch.float64)
    followed = torch.cat([noise, torch.randn(4, 2).double()], dim=1)  # by what no norm reads
    mean = x.mean(dim=(0, 2, 3), keepdim=True)
    var = ((x - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)
    (a, c), *others = ((part.weight, part.bias) for part in parts)
    hidden = (noise @ a.T + c) * (noise @ a.T + c > 0)
    gain, bias = ((hidden @ w.T + b)[:, :, None, None] for w, b in others)
    expected = (x - mean) / (var + 1e-5).sqrt() * (1 + gain) + bias
    assert_close_to_scale(norm(x, followed), expected)


@pytest.mark.parametrize(
    ('generator_type', 'options'), [(DISPBigGANGenerator, BIGGAN), (DISPSNGANGenerator, SNGAN)]
)
class TestBoth:
    @pytest.mark.parametrize('modulation_dim', [32, 0])
    def test_without_prior_the_norms_are_modulated_by_the_noise(
        self, generator_type, options, modulation_dim
    ):
        changes = dict(modulation_dim=0) if modulation_dim == 0 else {}  # 32 is the default
        generator = generator_type(prior_dim=0, **options, **changes)
        first, fed = generator.conv_blocks[0], slice(None)
        norm = first.bn1 if generator_type is DISPBigGANGenerator else first.norm_1
        if modulation_dim:  # all of the noise, by a hidden layer
            norm = norm.hidden
            assert norm[0].out_features == modulation_dim
        elif generator_type is DISPBigGANGenerator:  # its chunk
            fed = slice(generator.noise_chunk_size, 2 * generator.noise_chunk_size)
        seen = []
        norm.register_forward_pre_hook(lambda module, args: seen.append(args[-1]))
        noise = torch.randn(2, generator.noise_size)
        assert generator(noise).shape == (2, 3, 32, 32)
        assert torch.equal(seen[0], noise[:, fed])
        generator(noise, truncation=0.1)
        assert torch.equal(seen[1], noise[:, fed].clamp(-0.1, 0.1))

    def test_noise_is_returned_on_request_and_label_is_not(self, generator_type, options):
        # the number of classes of an inherited config is ignored
        generator = generator_type(prior_dim=6, num_classes=10, **options)
        assert not [name for name, _ in generator.named_parameters() if 'embedding' in name]
        prior = torch.randn(2, 6)
        out = generator(None, prior, num_batches=2, return_noise=True)
        assert set(out) == {'fake_img', 'noise_batch', 'prior'}
        assert out['prior'] is prior

    def test_every_norm_is_modulated_by_matrices_of_the_networks_spectral_norm(
        self, generator_type, options
    ):
        generator = generator_type(prior_dim=0, **options)
        norms = [m for m in generator.conv_blocks.modules() if hasattr(m, 'hidden')]
        assert len(norms) == 2 * len(generator.conv_blocks)
        parts = [part for norm in norms for part in (norm.hidden, norm.gain, norm.bias)]
        has_norm = generator_type is DISPBigGANGenerator  # SNGAN's G has none
        assert all(hasattr(part[0], 'weight_u') is has_norm for part in parts)
        generator(torch.randn(4, generator.noise_size)).square().sum().backward()
        assert all(part[0].bias.grad.abs().sum() > 0 for part in parts)
        with pytest.raises(ValueError, match='modulation_dim of a generator is -1'):
            generator_type(prior_dim=0, modulation_dim=-1, **options)

    def test_missing_and_misshapen_priors_are_refused(self, generator_type, options):
        generator = generator_type(prior_dim=6, **options)
        noise = torch.randn(2, generator.noise_size)
        with pytest.raises(ValueError, match='was given no prior'):
            generator(noise)
        with pytest.raises(ValueError, match=r'needs a prior of shape \(2, 6\).*got \(3, 6\)'):
            generator(noise, torch.zeros(3, 6))


@pytest.mark.parametrize(
    ('generator', 'sizes'),
    [
        (dict(type='DISPBigGANGenerator', noise_size=120), '32, 64, 128, 256, 512'),
        (dict(type='DISPSNGANGenerator'), '32, 64, 128'),
    ],
)
def test_a_size_without_an_architecture_is_refused_with_those_that_have_one(generator, sizes):
    with pytest.raises(ValueError, match=f'no architecture for images of 100 px.*one of {sizes},'):
        MODELS.build(dict(generator, output_scale=100, prior_dim=4))
