import pytest
import torch
from mmagic.registry import MODELS

from disp_plugin.models import PriorProjectionDiscriminator

BIGGAN = dict(type='BigGANDiscriminator', input_scale=32, base_channels=4, sn_style='torch')
SNGAN = dict(type='ProjDiscriminator', input_scale=32, base_channels=8)
STYLEGAN2 = dict(type='StyleGAN2Discriminator', in_size=16, channel_multiplier=1)


@pytest.mark.parametrize('config', [BIGGAN, SNGAN], ids=lambda config: config['type'])
@pytest.mark.parametrize('prior_dim', [0, 11])
def test_score_is_the_wrapped_score_plus_the_projection(config, prior_dim):
    torch.manual_seed(0)
    disc = PriorProjectionDiscriminator(config, prior_dim).double()
    img = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    prior = torch.randn(3, prior_dim, dtype=torch.float64) if prior_dim else None
    for _ in range(30):  # training mode lets the power iteration of the spectral norm converge
        disc(img, prior)
    disc.eval()
    features = []
    decision = disc.discriminator.decision
    decision.register_forward_hook(lambda module, args, out: features.append(args[0]))
    score = disc(img, prior)
    expected = disc.discriminator(img).view(3, 1)
    if prior_dim:
        weight = disc.prior_projection[0].weight
        assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1, abs=0.02)
        expected = expected + torch.einsum('nd,fd,nf->n', prior, weight, features[0])[:, None]
    assert score.shape == (3, 1)
    torch.testing.assert_close(score, expected)


@pytest.mark.parametrize(
    ('config', 'width'), [(BIGGAN, 16), (SNGAN, 8), (STYLEGAN2, 512)], ids=lambda v: str(v)[:30]
)
def test_width_of_the_features_is_found(config, width):
    disc = PriorProjectionDiscriminator(config, 5)
    assert disc.prior_projection.out_dim == width


def test_width_at_the_papers_size_is_1536_for_biggan_and_1024_for_sngan():
    with torch.device('meta'):
        biggan = PriorProjectionDiscriminator(
            dict(type='BigGANDiscriminator', input_scale=128, base_channels=96, sn_style='torch'), 5
        )
        assert biggan.prior_projection.out_dim == 1536
        config = dict(type='ProjDiscriminator', input_scale=128, base_channels=64)
        assert PriorProjectionDiscriminator(config, 5).prior_projection.out_dim == 1024


def test_inherited_number_of_classes_gives_way_to_the_prior():
    disc = PriorProjectionDiscriminator({**BIGGAN, 'num_classes': 10}, 5)
    assert disc.discriminator.num_classes == 0
    assert not hasattr(disc.discriminator, 'proj_y')


def test_conditional_discriminator_is_refused():
    with pytest.raises(ValueError, match='built for 10 classes.*num_classes=0'):
        PriorProjectionDiscriminator(MODELS.build({**BIGGAN, 'num_classes': 10}), 5)


def test_discriminator_that_does_not_end_in_a_linear_layer_is_refused():
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


@pytest.mark.parametrize('strict', [True, False])
def test_checkpoint_of_mmagic_loads_into_the_wrapped_part(strict):
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


def test_features_are_not_kept_after_a_step():
    disc = PriorProjectionDiscriminator(BIGGAN, 5)
    disc(torch.zeros(2, 3, 32, 32), torch.zeros(2, 5))
    assert disc._features is None
