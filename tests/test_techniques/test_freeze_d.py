"""Blocks of the discriminator that do not learn."""

import pytest
import torch
from mmagic.registry import MODELS

import disp_plugin.register  # noqa: F401
from disp_plugin.techniques import FreezeD

NETWORK = {
    'sngan': dict(type='ProjDiscriminator', input_scale=32, base_channels=4),
    'biggan': dict(type='BigGANDiscriminator', input_scale=32, base_channels=4, sn_style='ajbrock'),
    'stylegan2': dict(type='SizedStyleGAN2Discriminator', in_size=8, channel_max=8),
}
GANS = pytest.mark.parametrize('name', NETWORK)


@pytest.fixture
def build(make_gan):
    """A function (name, freeze) -> a DISP GAN; BigGAN's has the other kind of spectral norm."""
    return lambda name, freeze: make_gan(
        name, discriminator=dict(discriminator=NETWORK[name], freeze=freeze)
    )


def moved(gan, before):
    after = gan.discriminator.state_dict()
    return {key for key, value in before.items() if not torch.equal(value, after[key])}


def state_of(gan):
    return {key: value.clone() for key, value in gan.discriminator.state_dict().items()}


@GANS
def test_frozen_blocks_are_bit_identical_after_training(name, build, train_gan):
    gan = build(name, dict(type='FreezeD', blocks=2))
    frozen = FreezeD(2).find(gan.discriminator.discriminator)
    names = {id(module): key for key, module in gan.discriminator.named_modules()}
    prefixes = tuple(f'{names[id(module)]}.' for module in frozen)
    before = state_of(gan)
    train_gan(gan, 10)
    changed = moved(gan, before)
    assert not [key for key in changed if key.startswith(prefixes)]
    learnable = {key for key, _ in gan.discriminator.named_parameters()}
    assert {key for key in learnable if not key.startswith(prefixes)} <= changed
    # what would have moved: spectral norms' vectors are among it
    free = build(name, None)
    train_gan(free, 2)
    would = {key for key in moved(free, before) if key.startswith(prefixes)}
    assert {key for key in learnable if key.startswith(prefixes)} <= would
    if name == 'sngan':
        assert any(key.endswith('weight_u') for key in would)
    if name == 'biggan':
        assert any(key.endswith('.u0') for key in would)


@GANS
def test_nothing_is_learnt_by_the_optimizer_of_a_frozen_block(name, build):
    gan = build(name, dict(type='FreezeD', blocks=1))
    # as a distributed wrapper finds it when it decides what to wait for
    frozen = [
        p for block in FreezeD(1).find(gan.discriminator.discriminator) for p in block.parameters()
    ]
    assert frozen and not any(p.requires_grad for p in frozen)
    assert any(p.requires_grad for p in gan.discriminator.parameters())


@pytest.mark.parametrize(('name', 'num'), [('sngan', 4), ('biggan', 4), ('stylegan2', 3)])
def test_blocks_are_counted_from_the_image_on(name, num):
    network = MODELS.build(NETWORK[name])
    with pytest.raises(ValueError, match=f'blocks of FreezeD is {num + 1}, .* has {num}$'):
        FreezeD(num + 1).hold(network)
    first = network.convs[0] if name == 'stylegan2' else None
    if name == 'sngan':
        first = network.from_rgb
    if name == 'biggan':
        first = network.conv_blocks[0]
    assert FreezeD(1).find(network) == [first]
    assert FreezeD(0).find(network) == []


def test_an_attention_belongs_to_the_block_before_it():
    network = MODELS.build(dict(type='BigGANDiscriminator', input_scale=128, base_channels=8))
    blocks = [type(module).__name__ for module in FreezeD(4).find(network)]
    assert blocks.count('BigGANDiscResBlock') == 4
    assert 'SelfAttentionBlock' in blocks


def test_blocks_can_be_named():
    network = MODELS.build(NETWORK['sngan'])
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


def test_random_blocks_are_not_frozen_in_silence(build, capsys):
    build('sngan', None).init_weights()
    assert 'without model.pretrained' not in ''.join(capsys.readouterr())
    build('sngan', dict(type='FreezeD', blocks=1)).init_weights()
    assert 'without model.pretrained' in ''.join(capsys.readouterr())
