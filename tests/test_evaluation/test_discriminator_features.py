"""D_f(x) is what the discriminator's last layer is given, of each image alone."""

import pytest
import torch
from mmagic.registry import MODELS
from torch import nn

import disp_plugin.register  # noqa: F401  registers what the configs name
from disp_plugin.evaluation.discriminator_features import discriminator_features

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
