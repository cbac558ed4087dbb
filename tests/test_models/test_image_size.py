"""One image size: the GAN hands it on, and two different ones are refused."""

import pytest
import torch
from mmagic.registry import MODELS

import disp_plugin.register  # noqa: F401

GANS = {
    'sngan': ('DISPSNGAN', 'DISPSNGANGenerator', 'ProjDiscriminator', dict(base_channels=4)),
    'biggan': ('DISPBigGAN', 'DISPBigGANGenerator', 'BigGANDiscriminator', dict(base_channels=4)),
    'stylegan2': (
        'DISPStyleGAN2',
        'DISPStyleGAN2Generator',
        'SizedStyleGAN2Discriminator',
        dict(channel_max=8),
    ),
}


def config(name, generator=None, discriminator=None, **changes):
    gan, gen, disc, width = GANS[name]
    more = dict(style_channels=8, num_mlps=1) if name == 'stylegan2' else dict(noise_size=20)
    return dict(
        type=gan,
        prior_dim=5,
        generator=dict(type=gen, **width, **more, **(generator or {})),
        discriminator=dict(
            type='PriorProjectionDiscriminator',
            discriminator=dict(type=disc, **width, **(discriminator or {})),
        ),
        data_preprocessor=dict(type='DataPreprocessor'),
        **changes,
    )


@pytest.mark.parametrize('name', GANS)
def test_the_model_says_it_once(name):
    gan = MODELS.build(config(name, image_size=32))
    noise, prior = gan.noise_fn(num_batches=2), torch.rand(2, 5)
    img = gan.generator(noise, prior=prior)
    assert img.shape == (2, 3, 32, 32) and gan.image_size == 32
    assert gan.discriminator(img, prior).shape == (2, 1)


@pytest.mark.parametrize('name', GANS)
def test_a_miner_hands_it_on(name):
    model = config(name, image_size=32)
    assert MODELS.build({**model, 'mining_iters': 1}).image_size == 32
    kind = model['generator']['type']
    model['generator'].update(type='MinedGenerator', generator=kind, mining_iters=1)
    assert MODELS.build(model).image_size == 32


def test_a_network_that_says_none_takes_it():
    model = config('sngan', dict(output_scale=None), dict(input_scale=None), image_size=32)
    assert MODELS.build(model).image_size == 32


@pytest.mark.parametrize(
    ('sizes', 'words'),
    [
        (
            dict(generator=dict(output_scale=64), image_size=32),
            'image_size of the model is 32, but output_scale of its DISPBigGANGenerator is 64',
        ),
        (
            dict(generator=dict(output_scale=64), discriminator=dict(input_scale=32)),
            'makes images of 64 px, but the discriminator takes 32 px',
        ),
    ],
)
def test_two_sizes_are_refused(sizes, words):
    with pytest.raises(ValueError, match=words):
        MODELS.build(config('biggan', **sizes))
