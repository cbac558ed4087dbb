"""Any discriminator of mmagic, augmented, frozen in part, and scoring priors."""

import pytest
import torch
from mmagic.registry import MODELS
from torch import nn

from disp_plugin.models import DiscriminatorWrapper, PriorProjectionDiscriminator
from tests.gans import NETWORK, NUM_CLASSES, PRIOR_DIM, SIZE, make_gan
from tests.numerics import assert_close_to_scale

BIGGAN = dict(NETWORK['biggan'], input_scale=32)
BOTH = pytest.mark.parametrize('name', ['biggan', 'sngan'])


class Negative(nn.Module):
    """An augmentation that can be told from none."""

    def forward(self, img):
        return -img


@pytest.mark.parametrize('name', SIZE)
def test_images_are_augmented_in_training_only(name):
    wrapped = make_gan(name, True, discriminator=dict(augmentation=Negative())).discriminator
    network = wrapped.eval().discriminator
    img = torch.rand(3, 3, SIZE[name], SIZE[name])
    label = {} if name == 'stylegan2' else {'label': torch.arange(3)}
    plain, negative = network(img, **label), network(-img, **label)
    assert not torch.allclose(plain, negative)
    assert_close_to_scale(wrapped(img, **label), plain)
    wrapped.training = True  # the mode of the wrapper alone: a spectral norm changes in training
    assert_close_to_scale(wrapped(img, **label), negative)
    assert_close_to_scale(wrapped(img, augment=False, **label), plain)


def test_priors_are_projected_on_features_of_augmented_images():
    wrapped = PriorProjectionDiscriminator(BIGGAN, PRIOR_DIM, augmentation=Negative()).eval()
    img, prior = torch.rand(3, 3, 32, 32), torch.randn(3, PRIOR_DIM)
    expected = wrapped(-img, prior)
    wrapped.training = True
    assert_close_to_scale(wrapped(img, prior), expected)
    assert not torch.allclose(wrapped(img, prior, augment=False), expected)


@BOTH
def test_a_class_conditional_gan_of_mmagic_takes_it(name):
    gan = make_gan(name, True)
    assert gan.num_classes == gan.discriminator.discriminator.num_classes == NUM_CLASSES
    assert gan.discriminator(torch.rand(2, 3, 32, 32), label=torch.tensor([0, 4])).shape[0] == 2


def test_mmagics_own_augmentation_stops_outside_of_training():
    own = dict(type='ADAAug', aug_pipeline=dict(xflip=1, brightness=1), augment_initial_p=1.0)
    network = dict(type='ADAStyleGAN2Discriminator', in_size=8, data_aug=own)
    wrapped = DiscriminatorWrapper(network).eval()
    img = torch.rand(4, 3, 8, 8)
    assert torch.equal(wrapped(img), wrapped(img))
    wrapped.train()
    assert not torch.equal(wrapped(img), wrapped(img))


@BOTH
@pytest.mark.parametrize('prior_dim', [0, 11])
def test_score_is_the_wrapped_score_plus_the_projection(name, prior_dim):
    disc = make_gan(name, prior_dim=prior_dim).discriminator.double()
    img = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    prior = torch.randn(3, prior_dim, dtype=torch.float64) if prior_dim else None
    for _ in range(30):  # training mode lets the power iteration of the spectral norm converge
        disc(img, prior)
    disc.eval()
    expected = disc.discriminator(img).view(3, 1)
    if prior_dim:
        weight = disc.prior_projection[0].weight
        assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1, abs=0.02)
        features = disc.extract_features(img)
        expected = expected + torch.einsum('nd,fd,nf->n', prior, weight, features)[:, None]
        torch.testing.assert_close(
            disc.discriminator.decision(features).view(3, 1), disc.discriminator(img).view(3, 1)
        )
    torch.testing.assert_close(disc(img, prior), expected)


def test_width_at_the_papers_size_is_1536_for_biggan_and_1024_for_sngan():
    with torch.device('meta'):
        biggan = PriorProjectionDiscriminator(
            dict(type='BigGANDiscriminator', input_scale=128, base_channels=96, sn_style='torch'), 5
        )
        assert biggan.prior_projection.out_dim == 1536
        config = dict(type='ProjDiscriminator', input_scale=128, base_channels=64)
        assert PriorProjectionDiscriminator(config, 5).prior_projection.out_dim == 1024


def test_classes_give_way_to_the_prior_or_are_refused():
    disc = PriorProjectionDiscriminator({**BIGGAN, 'num_classes': 10}, 5)
    assert disc.discriminator.num_classes == 0
    assert not hasattr(disc.discriminator, 'proj_y')
    with pytest.raises(ValueError, match='built for 10 classes.*num_classes=0'):
        PriorProjectionDiscriminator(MODELS.build({**BIGGAN, 'num_classes': 10}), 5)
    with pytest.raises(ValueError, match='ends in Conv2d.*needs a discriminator whose last layer'):
        PriorProjectionDiscriminator(
            dict(type='DCGANDiscriminator', input_scale=32, output_scale=4, out_channels=1), 5
        )


@pytest.mark.parametrize(
    ('prior', 'message'),
    [
        (None, r'was given no prior; it needs one of shape \(3, 5\)'),
        (torch.zeros(3, 6), r'needs a prior of shape \(3, 5\).*but got \(3, 6\)'),
        (torch.zeros(2, 5), r'but got \(2, 5\)'),
    ],
)
def test_missing_or_misshapen_prior_is_refused(prior, message):
    disc = PriorProjectionDiscriminator(BIGGAN, 5)
    with pytest.raises(ValueError, match=message):
        disc(torch.zeros(3, 3, 32, 32), prior)


def test_checkpoint_of_mmagic_loads_into_the_wrapped_part():
    upstream = MODELS.build({**BIGGAN, 'num_classes': 0})
    disc = PriorProjectionDiscriminator(BIGGAN, 5)
    keys = disc.load_state_dict(upstream.state_dict(), strict=False)
    assert not keys.unexpected_keys
    assert all(key.startswith('prior_projection.') for key in keys.missing_keys)
    for key, value in upstream.state_dict().items():
        assert torch.equal(disc.discriminator.state_dict()[key], value)
    again = PriorProjectionDiscriminator(BIGGAN, 5)
    again.load_state_dict(disc.state_dict(), strict=True)
    for key, value in disc.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)
