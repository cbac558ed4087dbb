"""Networks of a checkpoint see and make the colors of the model's data."""

import pytest
import torch
from mmagic.registry import MODELS

from disp_plugin.models import load_pretrained

GENERATOR = dict(output_scale=32, base_channels=8, noise_size=16)
DISCRIMINATOR = dict(input_scale=32, base_channels=8)
CASES = {
    'sngan': ('DISPSNGAN', 'ProjDiscriminator', dict(with_spectral_norm=True), {}),
    'biggan, torch': ('DISPBigGAN', 'BigGANDiscriminator', *[dict(sn_style='torch')] * 2),
    'biggan, ajbrock': ('DISPBigGAN', 'BigGANDiscriminator', {}, {}),
}


def build(case, seed):
    kind, disc, gen_options, disc_options = CASES[case]
    torch.manual_seed(seed)
    wrapped = dict(type=disc, **DISCRIMINATOR, **disc_options)
    gan = MODELS.build(
        dict(
            type=kind,
            prior_dim=5,
            generator=dict(type=f'{kind}Generator', **GENERATOR, **gen_options),
            discriminator=dict(type='PriorProjectionDiscriminator', discriminator=wrapped),
            data_preprocessor=dict(type='DataPreprocessor'),
        )
    )
    with torch.no_grad():  # vectors of the spectral norms far from where they started
        gan.discriminator(torch.randn(2, 3, 32, 32), torch.randn(2, 5))
    return gan.eval()


def call(gan):
    rng = torch.Generator().manual_seed(0)
    noise, prior, img = (
        torch.randn(2, *size, generator=rng) for size in ((16,), (5,), (3, 32, 32))
    )
    made = gan.generator(noise, prior=prior)
    return made, gan.discriminator(img, prior), gan.discriminator(img.flip(1), prior)


@torch.no_grad()
@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize(
    'name, order, is_flipped',
    [
        ('sngan_imagenet1k_convert-studio-rgb_20210709.pth', None, True),
        ('biggan_imagenet1k_128x128_cvt_BigGAN-PyTorch_rgb_20210730.pth', 'BGR', False),
        ('biggan_imagenet1k_128x128_b32x8.pth', None, False),
        ('biggan_imagenet1k_128x128_b32x8.pth', 'RGB', True),
    ],
)
def test_rgb_networks_of_mmagic_are_turned_for_bgr_data(case, name, order, is_flipped, tmp_path):
    source, gan = build(case, 0), build(case, 1)
    torch.save(dict(state_dict=source.state_dict()), tmp_path / name)
    report = load_pretrained(gan, str(tmp_path / name), channel_order=order)
    (made, scores, turned), (expected, straight, flipped) = call(gan), call(source)
    torch.testing.assert_close(made, expected.flip(1) if is_flipped else expected)
    torch.testing.assert_close(scores, flipped if is_flipped else straight)
    torch.testing.assert_close(turned, straight if is_flipped else flipped)
    assert not torch.allclose(straight, flipped)
    expected = 'generator to BGR, discriminator to BGR' if is_flipped else 'none'
    assert report.colors.endswith(f'flipped: {expected}')


def test_a_generator_that_turns_its_images_keeps_the_weights(tmp_path):
    source, gan = build('biggan, torch', 0), build('biggan, torch', 1)
    gan.generator.rgb2bgr = True
    torch.save(dict(state_dict=source.state_dict()), tmp_path / 'x-rgb.pth')
    report = load_pretrained(gan, str(tmp_path / 'x-rgb.pth'))
    assert report.colors == 'RGB in the checkpoint; flipped: discriminator to BGR'
