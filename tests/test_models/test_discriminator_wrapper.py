"""Any discriminator of mmagic, augmented and frozen in part."""

import pytest
import torch
from mmagic.registry import MODELS
from torch import nn

from disp_plugin.models import DiscriminatorWrapper, PriorProjectionDiscriminator

STOCK = {
    'biggan': dict(type='BigGANDiscriminator', input_scale=32, base_channels=4, num_classes=5),
    'sngan': dict(type='ProjDiscriminator', input_scale=32, base_channels=4, num_classes=5),
    'stylegan2': dict(type='StyleGAN2Discriminator', in_size=8),
}


class Negative(nn.Module):
    """An augmentation that can be told from none."""

    def forward(self, img):
        return -img


def label_of(name, num=3):
    return {} if name == 'stylegan2' else {'label': torch.arange(num)}


@pytest.mark.parametrize('name', STOCK)
def test_images_are_augmented_in_training_only(name):
    network = MODELS.build(STOCK[name]).eval()
    wrapped = DiscriminatorWrapper(network, augmentation=Negative())
    img, label = torch.rand(3, 3, *[8 if name == 'stylegan2' else 32] * 2), label_of(name)
    wrapped.eval()
    plain, negative = network(img, **label), network(-img, **label)
    assert not torch.allclose(plain, negative)
    torch.testing.assert_close(wrapped(img, **label), plain)
    wrapped.training = True  # the mode of the wrapper alone: a spectral norm changes in training
    torch.testing.assert_close(wrapped(img, **label), negative)
    torch.testing.assert_close(wrapped(img, augment=False, **label), plain)


def test_priors_are_projected_on_features_of_augmented_images():
    network = MODELS.build({**STOCK['biggan'], 'num_classes': 0})
    wrapped = PriorProjectionDiscriminator(network, prior_dim=4, augmentation=Negative()).eval()
    img, prior = torch.rand(3, 3, 32, 32), torch.randn(3, 4)
    expected = wrapped(-img, prior)
    wrapped.training = True
    torch.testing.assert_close(wrapped(img, prior), expected)
    assert not torch.allclose(wrapped(img, prior, augment=False), expected)


@pytest.mark.parametrize('name', ['biggan', 'sngan'])
def test_a_class_conditional_gan_of_mmagic_takes_it(name):
    gan = MODELS.build(
        dict(
            type='BigGAN' if name == 'biggan' else 'SNGAN',
            num_classes=5,
            generator=dict(
                type='BigGANGenerator' if name == 'biggan' else 'SNGANGenerator',
                output_scale=32,
                base_channels=4,
                num_classes=5,
            ),
            discriminator=dict(
                type='DiscriminatorWrapper',
                discriminator={k: v for k, v in STOCK[name].items() if k != 'num_classes'},
            ),
            data_preprocessor=dict(type='DataPreprocessor'),
        )
    )
    assert gan.num_classes == gan.discriminator.discriminator.num_classes == 5
    assert gan.discriminator(torch.rand(2, 3, 32, 32), label=torch.tensor([0, 4])).shape[0] == 2


def test_checkpoints_of_mmagic_load_into_the_wrapped_part():
    network = MODELS.build(STOCK['sngan'])
    wrapped = DiscriminatorWrapper(MODELS.build(STOCK['sngan']), augmentation=Negative())
    wrapped.load_state_dict(network.state_dict())
    for name, value in network.state_dict().items():
        assert torch.equal(wrapped.discriminator.state_dict()[name], value)


def test_mmagics_own_augmentation_stops_outside_of_training():
    own = dict(type='ADAAug', aug_pipeline=dict(xflip=1, brightness=1), augment_initial_p=1.0)
    network = dict(type='ADAStyleGAN2Discriminator', in_size=8, data_aug=own)
    wrapped = DiscriminatorWrapper(network).eval()
    img = torch.rand(4, 3, 8, 8)
    assert torch.equal(wrapped(img), wrapped(img))
    wrapped.train()
    assert not torch.equal(wrapped(img), wrapped(img))


def test_labels_that_the_wrapped_part_needs_are_known():
    assert DiscriminatorWrapper(STOCK['biggan']).num_classes == 5
    assert DiscriminatorWrapper(STOCK['stylegan2']).num_classes == 0
