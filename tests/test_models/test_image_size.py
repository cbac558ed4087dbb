"""Stated sizes are compared with the images that networks really make and take."""

import random

import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from torch import nn

from disp_plugin.models.image_size import check_made_sizes
from tests.gans import SIZE, SIZE_FIELDS, TYPE, gan_config, train_gan

# SNGANs and BigGANs whose layers are spelled out: for half of the size that is stated
HALF = {
    'sngan': dict(channels_cfg=[2, 2]),
    'biggan': dict(arch_cfg=dict(in_channels=[4, 4], out_channels=[4, 4], upsample=[True] * 2,
                                 resolution=[8, 16], attention=[False] * 2)),
}  # fmt: skip


@MODELS.register_module()
class HalfStyleGAN2Generator(MODELS.get('DISPStyleGAN2Generator')):
    """A generator that does not make what it states."""

    def forward(self, *args, **kwargs):
        return nn.functional.avg_pool2d(super().forward(*args, **kwargs), 2)


def half(name, **options):
    """The config of a GAN that makes images of half the size that it states."""
    changed = HALF.get(name, dict(type='HalfStyleGAN2Generator'))
    return gan_config(name, generator=changed, **options)


@pytest.mark.parametrize('stock', [False, True])
@pytest.mark.parametrize('name', sorted(TYPE))
def test_networks_that_make_what_is_stated_pass_and_draw_no_number(name, stock):
    config = gan_config(name, stock)
    states = random.getstate(), np.random.get_state()[1:3], torch.get_rng_state()
    check_made_sizes(config, SIZE[name])
    assert states[0] == random.getstate()
    assert str(states[1]) == str(np.random.get_state()[1:3])
    assert torch.equal(states[2], torch.get_rng_state())


@pytest.mark.parametrize('name', sorted(TYPE))
def test_a_generator_that_makes_another_size_is_refused(name):
    size = SIZE[name]
    with pytest.raises(ValueError, match=rf'makes images of {size // 2} x {size // 2} px') as stop:
        check_made_sizes(half(name), size)
    for name in ('model.image_size', 'the size of the training images'):
        assert f'{name} is {size} x {size}' in str(stop.value)


@pytest.mark.parametrize('name', sorted(TYPE))
def test_a_discriminator_that_states_another_size_is_refused(name):
    config = gan_config(name, stock=True)
    config['discriminator']['discriminator'][SIZE_FIELDS[name][1]] = 64
    with pytest.raises(ValueError, match='the size stated for the discriminator is 64 x 64'):
        check_made_sizes(config, SIZE[name])


@pytest.mark.parametrize(('stock', 'seen'), [(False, 16), (True, (32, 48))])
@pytest.mark.parametrize('name', sorted(TYPE))
def test_training_images_of_another_size_are_refused(name, stock, seen):
    with pytest.raises(ValueError, match=r'but the size of the training images is \d+ x \d+;'):
        check_made_sizes(gan_config(name, stock), seen)


@pytest.mark.parametrize(
    ('name', 'network'),
    [
        ('sngan', dict(channels_cfg=[1] * 7, downsample_cfg=[True] * 7)),
        ('stylegan2', dict(img_channels=4)),
    ],
)
def test_a_discriminator_that_cannot_take_the_images_is_refused(name, network):
    with pytest.raises(ValueError, match=r'the discriminator takes no images of \d+ x \d+ px'):
        check_made_sizes(gan_config(name, network=network), None)


def test_models_of_other_kinds_are_left_alone():
    check_made_sizes(dict(type='DCGAN', generator=None), 32)


@pytest.mark.parametrize('name', sorted(TYPE))
def test_fake_and_real_images_of_two_shapes_are_no_step(name):
    size = SIZE[name]
    gan = MODELS.build(half(name))
    images = torch.zeros(4, 3, size, size, dtype=torch.uint8)
    with pytest.raises(ValueError, match=rf'images of \(3, {size // 2}, {size // 2}\), but the tr'):
        train_gan(gan, images=images)
