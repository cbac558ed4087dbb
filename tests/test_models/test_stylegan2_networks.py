"""StyleGAN2's generator with priors against mmagic's own, conditional and unconditional."""

import pytest
import torch
from mmagic.models.editors.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator

from disp_plugin.models import DISPStyleGAN2Generator, SizedStyleGAN2Discriminator
from disp_plugin.models.stylegan2_autocast import followed
from disp_plugin.models.stylegan2_networks import FIRST_MAPPING_WEIGHT
from tests.numerics import assert_close_to_scale

D, WIDTH = 5, 16


def build(prior_dim=D, **options):
    torch.manual_seed(0)
    options = {'out_size': 8, 'channel_max': WIDTH, 'style_channels': WIDTH, **options}
    return DISPStyleGAN2Generator(prior_dim=prior_dim, num_mlps=2, **options)


def draw(num=4, prior_dim=D):
    rng = torch.Generator().manual_seed(1)
    noise = torch.randn(num, WIDTH, generator=rng)
    return noise, torch.randn(num, prior_dim, generator=rng)


def shapes(network):
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


class NarrowHost(StyleGAN2Generator):
    """mmagic's class at our width, for comparison: all widths that it sets are 16."""

    def __setattr__(self, name, value):
        super().__setattr__(name, dict.fromkeys(value, WIDTH) if name == 'channels' else value)


def test_with_a_prior_it_is_mmagics_conditional_generator_fed_by_the_projection():
    ours = build()
    host = NarrowHost(8, WIDTH, cond_size=D, num_mlps=2)
    host.embed = ours.prior_projection
    state = {k: v for k, v in ours.state_dict().items() if not k.startswith('prior_projection')}
    for index in range(2):
        for part in ('linear.weight_orig', 'bias'):
            state[f'style_mapping.{index}.{part}'] = state.pop(f'style_mapping.{index + 1}.{part}')
    host.load_state_dict({**host.state_dict(), **state})
    noise, prior = draw()
    options = dict(randomize_noise=False)
    torch.testing.assert_close(
        ours(noise, prior, **options), host(noise, label=prior, **options), rtol=0, atol=0
    )


def test_without_a_prior_it_is_mmagics_generator_that_keeps_its_mean_style():
    ours = build(prior_dim=0)
    host = NarrowHost(8, WIDTH, num_mlps=2, update_mean_latent_with_ema=True)
    assert shapes(ours) == shapes(host)
    host.load_state_dict(ours.state_dict())
    noise, _ = draw()
    options = dict(randomize_noise=False)
    assert torch.equal(ours(noise, **options), host(noise, **options))


def test_shared_weights_keep_the_names_of_the_unconditional_generator():
    ours, host = shapes(build()), shapes(NarrowHost(8, WIDTH, num_mlps=2))
    new = {name for name in ours if name.startswith('prior_projection')} | {'w_avg'}
    assert ours.keys() - new == host.keys()
    assert {name for name in host if ours[name] != host[name]} == {FIRST_MAPPING_WEIGHT}
    assert ours[FIRST_MAPPING_WEIGHT] == (WIDTH, 2 * WIDTH)


def test_at_its_full_width_it_is_as_wide_as_mmagics():
    with torch.device('meta'):
        ours = DISPStyleGAN2Generator(256, prior_dim=0, update_mean_latent_with_ema=False)
        assert shapes(ours) == shapes(StyleGAN2Generator(256, 512))


def test_width_is_the_least_of_base_and_maximum():
    generator = build(out_size=32, channel_base=256, channel_max=20)
    assert [generator.channels[size] for size in (4, 8, 16, 32)] == [20, 20, 16, 8]
    widths = [conv.conv.out_channels for conv in generator.convs]
    assert widths == [20, 20, 16, 16, 8, 8]


def test_projection_is_an_mlp_of_two_equalized_layers():
    projection = build().prior_projection
    _, prior = draw()
    first, second = (
        (layer.weight_orig / layer.in_features**0.5, layer.bias) for layer in list(projection)[::2]
    )
    with torch.no_grad():
        first[1].normal_()
        second[1].normal_()
    hidden = (prior @ first[0].T + first[1]).clamp(min=0)
    assert_close_to_scale(projection(prior), hidden @ second[0].T + second[1])


def test_every_noise_of_a_style_mixture_has_the_images_own_prior():
    generator = build()
    noise, prior = draw()
    other = noise.flip(0)
    options = dict(randomize_noise=False, return_latents=True, inject_index=1)
    mixed = generator([noise, other], prior, **options)
    for style, source in ((0, noise), (-1, other)):
        plain = generator(source, prior, randomize_noise=False, return_latents=True)
        assert torch.equal(mixed['latent'][:, style], plain['latent'][:, style])
    assert mixed['prior'] is prior


def test_mean_style_follows_the_steps_of_the_generator_only():
    generator = build()
    noise, prior = draw()
    with torch.no_grad():
        generator(noise, prior)
    generator.eval()
    generator(noise, prior)
    assert not generator.w_avg.any()
    generator.train()
    latent = generator(noise, prior, return_latents=True)['latent'][:, 0]
    assert_close_to_scale(generator.w_avg, (1 - 0.998) * latent.detach().mean(dim=0))


def test_truncation_pulls_styles_to_the_mean_style():
    generator = build().eval()
    generator.w_avg.normal_()
    noise, prior = draw()
    whole = generator(noise, prior, return_latents=True)['latent']
    half = generator(noise, prior, truncation=0.5, return_latents=True)['latent']
    assert_close_to_scale(half, (whole + generator.w_avg) / 2)
    none = generator(noise, prior, truncation=0.0, randomize_noise=False)
    assert_close_to_scale(none, none[:1].expand_as(none))
    # a mean style that is loaded later counts, too
    generator.w_avg.zero_()
    half = generator(noise, prior, truncation=0.5, return_latents=True)['latent']
    assert_close_to_scale(half, whole / 2)


def test_mean_style_is_estimated_for_noise_of_another_length_and_left_where_there_is_none():
    generator = build(noise_size=8)
    generator.estimate_w_avg(num_samples=100)
    assert generator.w_avg.any()
    plain = build(prior_dim=0, update_mean_latent_with_ema=False)
    plain.estimate_w_avg()
    noise, _ = draw()
    plain(noise).sum().backward()
    assert not hasattr(plain, 'w_avg')


def test_processes_draw_the_noise_of_one_process(monkeypatch):
    module = 'disp_plugin.models.stylegan2_networks'
    generator = build().eval()
    for conv in (generator.conv1, *generator.convs):
        torch.nn.init.ones_(conv.noise_injector.weight)
    noise, prior = draw(6)
    torch.manual_seed(4)
    whole = generator(noise, prior)
    monkeypatch.setattr(f'{module}.get_world_size', lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(f'{module}.get_rank', lambda rank=rank: rank)
        torch.manual_seed(4)
        share = generator(noise[rank::2], prior[rank::2])
        assert_close_to_scale(share, whole[rank::2])


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'out_size': 48}, 'no architecture for images of 48 px.*8, 16, 32'),
        ({'channel_max': 0}, 'channel_max .* from 1, but is 0'),
        ({'channel_base': 4}, 'channel_base .* from 8, but is 4'),
        ({'cond_size': 10}, "takes no 'cond_size'.*prior_dim"),
        ({'pretrained': {'ckpt_path': 'x'}}, "takes no 'pretrained'.*model.pretrained"),
    ],
)
def test_what_it_cannot_be_built_with_is_named(options, words):
    with pytest.raises(ValueError, match=words):
        build(**options)


def test_a_missing_or_wrong_prior_is_named():
    noise, prior = draw()
    with pytest.raises(ValueError, match=r'given no prior; it needs one of shape \(4, 5\)'):
        build()(noise)
    with pytest.raises(ValueError, match=r'shape \(4, 5\).*but got \(4, 3\)'):
        build()([noise, noise], prior[:, :3])


class TestSizedDiscriminator:
    def test_at_its_full_width_it_is_mmagics(self):
        with torch.device('meta'):
            ours = SizedStyleGAN2Discriminator(128)
            host = StyleGAN2Discriminator(128)
        ours, host = ours.state_dict(), host.state_dict()
        assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in host.items()}

    def test_narrow_it_has_mmagics_names_and_fewer_channels(self):
        with torch.device('meta'):
            ours = SizedStyleGAN2Discriminator(32, channel_base=256, channel_max=20).state_dict()
            host = StyleGAN2Discriminator(32).state_dict()
        assert list(ours) == list(host)
        shapes = {name: tuple(value.shape) for name, value in ours.items()}
        assert shapes['convs.0.0.conv.weight_orig'] == (8, 3, 1, 1)
        assert shapes['convs.1.conv2.1.conv.weight_orig'] == (16, 8, 3, 3)
        assert shapes['convs.3.skip.1.conv.weight_orig'] == (20, 20, 1, 1)
        assert shapes['final_conv.0.conv.weight_orig'] == (20, 21, 3, 3)
        assert shapes['final_linear.0.linear.weight_orig'] == (20, 20 * 16)

    def test_options_of_the_layers_survive_the_narrowing(self):
        ours = SizedStyleGAN2Discriminator(
            16, channel_max=8, num_fp16_scales=1, convert_input_fp32=False, img_channels=1
        )
        host = StyleGAN2Discriminator(
            16, num_fp16_scales=1, convert_input_fp32=False, img_channels=1
        )
        with torch.autocast('cpu', torch.bfloat16), followed('cpu'):
            for name, module in host.named_modules():
                for field in ('fp16_enabled', 'convert_input_fp32'):
                    found = getattr(ours.get_submodule(name), field, None)
                    assert found == getattr(module, field, None), name
        assert ours.convs[0][0].in_channels == 1

    def test_what_it_cannot_be_built_with_is_named(self):
        with pytest.raises(ValueError, match='no architecture for images of 20 px'):
            SizedStyleGAN2Discriminator(20)
        with pytest.raises(ValueError, match='channel_max .* must be a whole number from 1'):
            SizedStyleGAN2Discriminator(16, channel_max=0)

    def test_each_process_augments_with_numbers_of_its_own(self, monkeypatch):
        disc = SizedStyleGAN2Discriminator(
            8,
            channel_max=8,
            data_aug=dict(type='ADAAug', aug_pipeline=dict(brightness=1), augment_initial_p=1.0),
        )
        seen = []
        disc.convs.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        img = torch.rand(4, 3, 8, 8)
        monkeypatch.setattr('disp_plugin.distributed.get_world_size', lambda: 2)
        for rank in (0, 1, 0):
            monkeypatch.setattr('disp_plugin.distributed.get_rank', lambda rank=rank: rank)
            torch.manual_seed(3)
            disc(img)
        assert torch.equal(seen[0], seen[2]) and not torch.equal(seen[0], seen[1])
