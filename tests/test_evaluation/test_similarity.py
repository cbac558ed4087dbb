"""Tables 12 and 13 against formulas in float64, written out."""

import math

import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from torch import nn

import disp_plugin.register  # noqa: F401  registers what the configs name
from disp_plugin.evaluation.similarity import (
    discriminator_features,
    draw_pairs,
    reconstruction_similarity,
    similarity_correlation,
)


def cosine(a, b):
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(float(x) ** 2 for x in a) * sum(float(y) ** 2 for y in b))


def pearson(x, y):
    x, y = (np.asarray(v) - np.mean(v) for v in (x, y))
    return (x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum())


def ranks(values):
    return [sum(other < value for other in values) for value in values]


def test_correlations_are_those_of_the_formula(rng):
    draw = rng(0)
    disc, encoder = draw.random((6, 4)), draw.random((6, 3))
    images = draw.integers(0, 256, (6, 2, 2, 3), dtype=np.uint8)
    pairs = np.array([(i, j) for i in range(6) for j in range(i)])
    found = similarity_correlation(torch.from_numpy(disc), torch.from_numpy(encoder), images, pairs)
    in_disc = [cosine(disc[i], disc[j]) for i, j in pairs]
    alike = [cosine(encoder[i], encoder[j]) for i, j in pairs]
    apart = [
        math.sqrt(
            sum((int(a) - int(b)) ** 2 for a, b in zip(images[i].flat, images[j].flat, strict=True))
        )
        for i, j in pairs
    ]
    for name, values in (('perceptual', alike), ('pixels', apart)):
        assert math.isclose(found[name].pearson, pearson(in_disc, values), rel_tol=1e-6)
        expected = pearson(ranks(in_disc), ranks(values))
        assert math.isclose(found[name].spearman, expected, rel_tol=1e-6)


def test_signs_are_those_of_the_table_where_all_spaces_agree(rng):
    """Features that are the pixels themselves: alike in one is near in the other."""
    images = rng(1).integers(0, 256, (40, 4, 4, 3), dtype=np.uint8)
    images = (images * np.linspace(0.1, 1, 40)[:, None, None, None]).astype(np.uint8)
    features = torch.from_numpy(images.reshape(40, -1).astype(np.float32)) - 128
    found = similarity_correlation(features, features, images, draw_pairs(40, 500))
    assert found['perceptual'].pearson > 0.999 and found['pixels'].pearson < -0.8


def test_pairs_are_of_different_images_and_uniform():
    pairs = draw_pairs(5, 20_000, seed=1)
    assert pairs.shape == (20_000, 2) and pairs.min() == 0 and pairs.max() == 4
    assert (pairs[:, 0] != pairs[:, 1]).all()
    counts = np.bincount(pairs[:, 0] * 5 + pairs[:, 1], minlength=25).reshape(5, 5)
    expected = 20_000 / 20
    off = counts[~np.eye(5, dtype=bool)]
    assert (np.abs(off - expected) < 5 * math.sqrt(expected)).all()
    assert np.array_equal(draw_pairs(5, 20_000, seed=1), pairs)


def test_what_has_no_correlation_is_refused(rng):
    features = torch.from_numpy(rng(3).random((4, 5)))
    images = np.zeros((4, 2, 2, 3), np.uint8)
    with pytest.raises(ValueError, match='alike by pixels'):
        similarity_correlation(features, features, images, draw_pairs(4, 5))
    with pytest.raises(ValueError, match='at least 3 pairs'):
        similarity_correlation(features, features, images, draw_pairs(4, 2))
    with pytest.raises(ValueError, match='at least 2 images'):
        draw_pairs(1, 5)


def test_own_images_are_compared_with_their_own_and_others_with_others(rng):
    draw = rng(4)
    real = draw.normal(size=(50, 8))
    generated = real + 0.3 * draw.normal(size=(50, 8))
    found = reconstruction_similarity(torch.from_numpy(real), torch.from_numpy(generated))
    own = [cosine(a, b) for a, b in zip(real, generated, strict=True)]
    assert math.isclose(found['own'].mean, np.mean(own), rel_tol=1e-9)
    assert math.isclose(found['own'].standard_deviation, np.std(own, ddof=1), rel_tol=1e-9)
    # independent normal vectors of 8 dimensions have cosines of mean 0 and variance 1/8
    for name in ('random', 'other'):
        assert abs(found[name].mean) < 4 * math.sqrt(1 / 8 / 50)
        assert 0.2 < found[name].standard_deviation < 0.5
    assert found['own'].num == 50


def test_a_random_partner_is_never_the_image_itself():
    real = torch.eye(40)
    found = reconstruction_similarity(real, real)
    assert found['own'].mean == 1
    assert found['random'].mean == found['other'].mean == 0


def test_unequal_numbers_are_refused():
    with pytest.raises(ValueError, match='at least 2 images and as many generated'):
        reconstruction_similarity(torch.ones(3, 2), torch.ones(2, 2))


BODIES = {
    'biggan': dict(type='BigGANDiscriminator', input_scale=32, base_channels=4, sn_style='torch'),
    'sngan': dict(type='ProjDiscriminator', input_scale=32, base_channels=4),
    'stylegan2': dict(type='SizedStyleGAN2Discriminator', in_size=32, channel_max=8),
    'ada': dict(
        type='SizedStyleGAN2Discriminator',
        in_size=32,
        channel_max=8,
        data_aug=dict(type='ADAAug', aug_pipeline=dict(xflip=1, brightness=1), ada_kimg=1),
    ),
}


class GAN(nn.Module):
    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        wrapped = dict(type='PriorProjectionDiscriminator', prior_dim=6)
        options = dict(wrapped, equalized_lr=kind in ('stylegan2', 'ada'))
        self.discriminator = MODELS.build(dict(options, discriminator=BODIES[kind]))


@pytest.fixture(params=sorted(BODIES))
def gan(request):
    return GAN(request.param)


@pytest.fixture
def images():
    return torch.rand(5, 3, 32, 32) * 2 - 1


def test_score_is_a_linear_function_of_the_features_and_of_the_projected_prior(gan, images):
    """Equation (3): what remains of the score without the projection is linear in D_f."""
    network = gan.discriminator.eval()
    if hasattr(network.discriminator, 'ada_aug'):
        network.discriminator.with_ada = False
    features = discriminator_features(gan, images)
    prior = torch.randn(5, 6)
    with torch.no_grad():
        score = torch.cat([network(images[i : i + 1], prior[i : i + 1]) for i in range(5)])
        base = torch.cat([network.discriminator(images[i : i + 1]).view(1, 1) for i in range(5)])
        projection = network.prior_projection(prior) * features * network.projection_scale
    expected = base + projection.sum(dim=1, keepdim=True)
    torch.testing.assert_close(score, expected, rtol=1e-4, atol=1e-4)


def test_features_of_an_image_do_not_depend_on_the_others(gan, images):
    together = discriminator_features(gan, images)
    alone = torch.cat([discriminator_features(gan, image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)
    assert together.std(dim=0).max() > 0


def test_the_discriminator_is_as_it_was(gan, images):
    gan.train()
    before = {name: value.clone() for name, value in gan.state_dict().items()}
    random = torch.get_rng_state()
    discriminator_features(gan, images)
    assert all(torch.equal(value, before[name]) for name, value in gan.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)  # nothing was augmented
    assert all(module.training for module in gan.modules())
    assert all(p.requires_grad for p in gan.discriminator.prior_projection.parameters())
    body = gan.discriminator.discriminator
    assert getattr(body, 'with_ada', None) in (None, hasattr(body, 'ada_aug'))


def test_other_discriminators_are_refused(images):
    gan = GAN('sngan')
    with pytest.raises(ValueError, match='no images'):
        discriminator_features(gan, images[:0])
    gan.discriminator = gan.discriminator.discriminator
    with pytest.raises(ValueError, match='PriorProjectionDiscriminator only'):
        discriminator_features(gan, images)
