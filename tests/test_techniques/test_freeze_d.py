"""Blocks of the discriminator that do not learn."""

import pytest
import torch
from mmagic.registry import MODELS

from disp_plugin.techniques import FreezeD
from tests.gans import SIZE, make_gan, train_gan

GANS = pytest.mark.parametrize('name', SIZE)


def build(name, blocks=None):
    """A DISP GAN; BigGAN's has the other kind of spectral norm."""
    freeze = None if blocks is None else dict(type='FreezeD', blocks=blocks)
    network = dict(sn_style='ajbrock') if name == 'biggan' else {}
    return make_gan(name, network=network, discriminator=dict(freeze=freeze))


def make_network(name):
    return build(name).discriminator.discriminator


def moved(gan, before):
    after = gan.discriminator.state_dict()
    return {key for key, value in before.items() if not torch.equal(value, after[key])}


def state_of(gan):
    return {key: value.clone() for key, value in gan.discriminator.state_dict().items()}


@GANS
def test_frozen_blocks_are_bit_identical_after_training(name):
    gan = build(name, 2)
    frozen = FreezeD(2).find(gan.discriminator.discriminator)
    # a distributed wrapper does not wait for their gradients
    assert not any(p.requires_grad for module in frozen for p in module.parameters())
    names = {id(module): key for key, module in gan.discriminator.named_modules()}
    prefixes = tuple(f'{names[id(module)]}.' for module in frozen)
    before = state_of(gan)
    train_gan(gan, 10)
    changed = moved(gan, before)
    assert not [key for key in changed if key.startswith(prefixes)]
    learnable = {key for key, _ in gan.discriminator.named_parameters()}
    assert {key for key in learnable if not key.startswith(prefixes)} <= changed
    # what would have moved: spectral norms' vectors are among it
    free = build(name)
    train_gan(free, 2)
    would = {key for key in moved(free, before) if key.startswith(prefixes)}
    assert {key for key in learnable if key.startswith(prefixes)} <= would
    norms = dict(sngan='weight_u', biggan='.u0').get(name, '')
    assert any(key.endswith(norms) for key in would)


@pytest.mark.parametrize(('name', 'num'), [('sngan', 4), ('biggan', 4), ('stylegan2', 3)])
def test_blocks_are_counted_from_the_image_on(name, num):
    network = make_network(name)
    with pytest.raises(ValueError, match=f'blocks of FreezeD is {num + 1}, .* has {num}$'):
        FreezeD(num + 1).hold(network)
    first = dict(sngan='from_rgb', biggan='conv_blocks.0', stylegan2='convs.0')[name]
    assert FreezeD(1).find(network) == [network.get_submodule(first)]
    assert FreezeD(0).find(network) == []


def test_an_attention_belongs_to_the_block_before_it():
    network = MODELS.build(dict(type='BigGANDiscriminator', input_scale=128, base_channels=8))
    blocks = [type(module).__name__ for module in FreezeD(4).find(network)]
    assert blocks.count('BigGANDiscResBlock') == 4
    assert 'SelfAttentionBlock' in blocks


def test_blocks_can_be_named():
    network = make_network('sngan')
    assert FreezeD(['conv_blocks.1', 'decision']).find(network) == [
        network.conv_blocks[1],
        network.decision,
    ]
    with pytest.raises(
        ValueError, match=r"'block3'.*its parts are from_rgb, conv_blocks, decision"
    ):
        FreezeD('block3').find(network)


@pytest.mark.parametrize('blocks', [-1, [], (), True, 2.0, ''])
def test_a_choice_of_no_sense_is_refused(blocks):
    with pytest.raises(ValueError, match='it must be a number of blocks, 0 or more, or a list'):
        FreezeD(blocks)


@pytest.mark.parametrize('config', [dict(type='PGGANDiscriminator', in_scale=8), None])
def test_a_discriminator_whose_blocks_are_not_known_needs_names(config):
    network = MODELS.build(config) if config else torch.nn.Linear(2, 1)
    with pytest.raises(ValueError, match='give blocks of FreezeD as a list of names'):
        FreezeD(1).find(network)


def test_the_convolution_next_to_the_image_is_a_block():
    network = MODELS.build(
        dict(type='BigGANDeepDiscriminator', input_scale=32, base_channels=4, num_classes=5)
    )
    assert FreezeD(1).find(network) == [network.input_conv]


def test_random_blocks_are_not_frozen_in_silence(capsys):
    build('sngan').init_weights()
    assert 'without model.pretrained' not in ''.join(capsys.readouterr())
    build('sngan', 1).init_weights()
    assert 'without model.pretrained' in ''.join(capsys.readouterr())
