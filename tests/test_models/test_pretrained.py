"""DISP GANs start from checkpoints of mmagic's GANs, or say why they cannot."""

import copy
import functools
import pickle

import pytest
import torch
from mmagic.registry import MODELS
from mmengine.registry import MODEL_WRAPPERS
from safetensors.torch import save_file

import disp_plugin.register  # noqa: F401
from disp_plugin.models import load_pretrained
from disp_plugin.models.match_checkpoint import flip_colors
from tests.numerics import assert_close_to_scale

WIDTH, SIZE = 8, 16
FIRST = 'style_mapping.1.linear.weight_orig'
TO_RGB = ('to_rgb1.bias', 'to_rgb1.conv.weight_orig', 'to_rgbs.1.bias')
FROM_RGB = 'convs.0.0.conv.weight_orig'


def build(**changes):
    """A model of its own; the usual one is made once and copied."""
    return make(**changes) if changes else copy.deepcopy(make_usual())


@functools.cache
def make_usual():
    return make()


def make(prior_dim=6, size=SIZE, gen=None, disc=None):
    width = dict(channel_max=WIDTH)
    return MODELS.build(
        dict(
            type='DISPStyleGAN2',
            prior_dim=prior_dim,
            image_size=size,
            generator=dict(
                type='DISPStyleGAN2Generator', **{**width, 'style_channels': WIDTH, **(gen or {})}
            ),
            discriminator=dict(
                type='PriorProjectionDiscriminator',
                equalized_lr=True,
                discriminator=dict(type='SizedStyleGAN2Discriminator', **{**width, **(disc or {})}),
            ),
            data_preprocessor=dict(type='DataPreprocessor'),
            ema_config=dict(type='ExponentialMovingAverage'),
        )
    )


def make_weights(**changes):
    """Entries of mmagic's unconditional StyleGAN2, all but the kernels with values of their own."""

    def draw(key, value):
        # the mapping learns at a hundredth of the rate, and has larger weights
        scale = 1 if 'style_mapping' not in key else 10 if key.endswith('bias') else 100
        return value if 'kernel' in key else torch.randn_like(value) * scale

    torch.manual_seed(1)
    gan = make(prior_dim=0, **changes)
    parts = {
        'generator.': gan.generator,
        'generator_ema.module.': gan.generator,
        'discriminator.': gan.discriminator.discriminator,
    }
    return {
        prefix + key: draw(key, value)
        for prefix, network in parts.items()
        for key, value in network.state_dict().items()
    }


@functools.cache
def usual_weights():
    return make_weights()


@pytest.fixture
def weights():
    return dict(usual_weights())


@pytest.fixture
def save(tmp_path):
    def save(state, name='weights.pth', **meta):
        file = tmp_path / name
        if file.suffix == '.safetensors':
            save_file({key: value.clone() for key, value in state.items()}, file, meta)
        else:
            torch.save(dict(state_dict=state, meta={'iter': 5, **meta}), file)
        return str(file)

    return save


def only(weights, *prefixes):
    return {key: value for key, value in weights.items() if key.startswith(prefixes)}


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_weights_arrive_in_bgr_with_the_first_matrix_widened(weights, save, suffix):
    gan = build()
    file = save(weights, f'x.{suffix}', channel_order='RGB', layout='NVlabs')
    report = load_pretrained(gan, file)
    for prefix, state in (
        ('generator_ema.module.', gan.generator.state_dict()),
        ('generator_ema.module.', gan.generator_ema.module.state_dict()),
        ('discriminator.', gan.discriminator.discriminator.state_dict()),
    ):
        for key in [key for key in state if not key.startswith('prior_projection')]:
            expected = weights[prefix + key]
            if key == FROM_RGB or (key.startswith('to_rgb') and expected.ndim > 3):
                expected = expected if 'kernel' in key else expected[:, [2, 1, 0]]
            elif key == FIRST:
                expected = torch.cat([expected, expected], dim=1)
            assert torch.equal(state[key], expected), key
    assert report.adapted == [f'generator.{FIRST}', f'generator_ema.module.{FIRST}']
    assert not report.mismatched and not report.ignored and not report.estimated
    brought = [key for key in report.new if key.startswith(('generator.', 'discriminator.'))]
    assert brought and all('prior_projection' in key for key in brought)
    text = str(report)
    assert 'layout: NVlabs' in text and 'adapted: generator.style_mapping.1' in text
    assert 'RGB in the checkpoint; flipped: generator to BGR' in text


@torch.no_grad()
def test_training_begins_with_styles_of_the_pretrained_mapping(weights, save):
    file = save(weights)
    gan, baseline = build(), build(prior_dim=0)
    load_pretrained(gan, file)
    load_pretrained(baseline, file)
    noise, embedding = torch.randn(2, 5, WIDTH).double()
    styles = gan.generator.double().style_mapping(torch.cat([noise, embedding], dim=1))
    # without the normalization at its beginning
    mapping = baseline.generator.double().style_mapping[1:]
    expected = mapping((noise + embedding) / 2**0.5)
    # the factors of eight layers' equalized learning rates are in float32
    assert_close_to_scale(styles, expected, num_terms=100, dtype=torch.float32)


def test_weights_are_flipped_and_widened_in_a_distributed_run_too(weights, save, tmp_path):
    expected, gan = build(), build()
    file = save(weights, channel_order='RGB')
    load_pretrained(expected, file)
    store = f'file://{tmp_path / "store"}'
    torch.distributed.init_process_group('gloo', store, rank=0, world_size=1)
    try:
        wrapped = MODEL_WRAPPERS.build(
            dict(type='MMSeparateDistributedDataParallel', module=gan)
        ).module
        load_pretrained(wrapped, file)
        state = wrapped.state_dict()
    finally:
        torch.distributed.destroy_process_group()
    loaded = [key for key in state if key.startswith('generator') and 'prior' not in key]
    assert FIRST in {key.removeprefix('generator.') for key in loaded}
    assert all(torch.equal(state[key], expected.state_dict()[key]) for key in loaded)


def test_generator_starts_from_the_plain_weights_on_request(weights, save):
    gan = build()
    load_pretrained(gan, save(weights), use_ema=False)
    key = 'conv1.activate.bias'
    plain, average = (weights[f'{part}.{key}'] for part in ('generator', 'generator_ema.module'))
    assert torch.equal(gan.generator.state_dict()[key], plain)
    assert torch.equal(gan.generator_ema.module.state_dict()[key], average)
    # the loaded average outlives the first update
    gan.generator_ema.update_parameters(gan.generator)
    expected = average + gan.generator_ema.momentum * (plain - average)
    torch.testing.assert_close(gan.generator_ema.module.state_dict()[key], expected)


def test_networks_that_turn_colors_themselves_keep_the_weights(weights, save):
    file = save(weights, channel_order='RGB')
    gan = build(gen=dict(bgr2rgb=True), disc=dict(input_bgr2rgb=True))
    report = load_pretrained(gan, file)
    for key in TO_RGB:
        expected = weights[f'generator_ema.module.{key}']
        assert torch.equal(gan.generator.state_dict()[key], expected)
    state = gan.discriminator.discriminator.state_dict()
    assert torch.equal(state[FROM_RGB], weights[f'discriminator.{FROM_RGB}'])
    assert report.colors == 'RGB in the checkpoint; flipped: none'


def test_networks_that_are_shown_rgb_keep_the_weights(weights, save):
    file = save(weights, channel_order='RGB')
    gan, turned = build(), build(gen=dict(bgr2rgb=True))
    for model in (gan, turned):
        model.data_preprocessor.output_channel_order = 'RGB'
    assert load_pretrained(gan, file).colors == 'RGB in the checkpoint; flipped: none'
    report = load_pretrained(turned, file)
    assert 'generator to BGR' in report.colors and 'discriminator' not in report.colors


@pytest.mark.parametrize(
    'name, order, is_flipped',
    [
        ('stylegan2_c2_ffhq_256_b4x8.pth', None, False),
        ('stylegan2-cat-config-f-official.pth', None, True),
        ('stylegan2_c2_ffhq_256_b4x8.pth', 'RGB', True),
        ('stylegan2-cat-config-f-official.pth', 'BGR', False),
    ],
)
def test_mmagics_files_are_bgr_unless_official(weights, save, name, order, is_flipped):
    gan = build()
    report = load_pretrained(gan, save(weights, name), channel_order=order)
    bias = weights['generator_ema.module.to_rgb1.bias']
    expected = bias.flip(1) if is_flipped else bias
    assert torch.equal(gan.generator.state_dict()['to_rgb1.bias'], expected)
    assert report.layout == 'mmagic'


@torch.no_grad()
def test_a_missing_mean_style_is_estimated(weights, save):
    gan = build(prior_dim=0)
    file = save({key: value for key, value in weights.items() if 'w_avg' not in key})
    report = load_pretrained(gan, file)
    assert report.estimated == ['generator.w_avg', 'generator_ema.module.w_avg']
    styles = gan.generator.style_mapping(torch.randn(20000, WIDTH))
    error = (gan.generator.w_avg - styles.mean(0)) / styles.std(0)
    # means over 10,000 and 20,000 styles: 5 standard errors
    assert error.abs().max() < 5 * (1 / 10000 + 1 / 20000) ** 0.5
    assert torch.equal(gan.generator.w_avg, gan.generator_ema.module.w_avg)


def test_a_network_that_the_file_lacks_stays_as_it_is(weights, save):
    gan = build()
    before = {key: value.clone() for key, value in gan.discriminator.state_dict().items()}
    report = load_pretrained(gan, save(only(weights, 'generator_ema.')))
    after = gan.discriminator.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    bias = weights['generator_ema.module.conv1.activate.bias']
    for generator in (gan.generator, gan.generator_ema.module):
        assert torch.equal(generator.conv1.activate.bias, bias)
    assert 'discriminator.*' in str(report)
    assert load_pretrained(gan, save(only(weights, 'discriminator.'))).estimated == []


def test_state_of_augmentation_begins_anew(save):
    gan = build(disc=dict(data_aug=dict(type='ADAAug', augment_initial_p=0.0)))
    state = {key: value.clone() for key, value in gan.state_dict().items()}
    key = 'discriminator.discriminator.ada_aug.aug_pipeline.p'
    state[key] += 0.7
    report = load_pretrained(gan, save(state))
    assert gan.state_dict()[key] == 0
    assert key in report.new and key in report.ignored


def other_kernel(weights):
    name = 'generator.convs.0.conv.blur.kernel'
    return {**only(weights, 'generator.'), name: torch.full((4, 4), 1 / 4)}


REFUSED = {
    'larger': (
        lambda _: make_weights(size=32),
        r'generator\.convs\.4\.\S+: the model lacks it.*'
        r'the checkpoint is of 32 px, the model of 16 px; model\.image_size',
    ),
    'smaller': (
        lambda _: make_weights(size=8),
        r'generator\.convs\.2\.\S+: the checkpoint lacks it.*'
        r'the checkpoint is of 8 px, the model of 16 px; model\.image_size',
    ),
    'discriminator alone of another size': (
        lambda _: only(make_weights(size=8), 'discriminator.'),
        'discriminator.*the checkpoint is of 8 px, the model of 16 px',
    ),
    'wider': (
        lambda _: only(make_weights(gen=dict(channel_max=12)), 'generator.'),
        r'generator\.constant_input\.input is \(1, 12, 4, 4\) in the checkpoint and '
        r'\(1, 8, 4, 4\) in the model.*both are of 16 px; channel_multiplier, channel_base',
    ),
    'shallower mapping': (
        lambda _: only(make_weights(gen=dict(num_mlps=2)), 'generator.'),
        r'generator\.style_mapping\.3\.bias: the checkpoint lacks it.*num_mlps',
    ),
    'class-conditional': (
        lambda weights: {**weights, 'generator.embed.bias': torch.zeros(8)},
        r'generator\.embed\.bias: the model lacks it',
    ),
    'another blur': (other_kernel, r'generator\.convs\.0\.conv\.blur\.kernel is another'),
    'no discriminator blocks': (
        lambda weights: {k: v for k, v in weights.items() if 'skip' not in k},
        r'discriminator\.convs\.1\.skip\.0\.kernel: the checkpoint lacks it',
    ),
    'nothing': (
        lambda _: {'backbone.weight': torch.zeros(1)},
        'no weights match: none of its 1 entries has a place.*tools/model_converters',
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_another_network_is_refused_and_nothing_loaded(case, weights, save):
    make_content, message = REFUSED[case]
    gan = build()
    before = {key: value.clone() for key, value in gan.state_dict().items()}
    with pytest.raises(ValueError, match=f'(?s)does not fit this model: .*{message}'):
        load_pretrained(gan, save(make_content(weights)), use_ema=False)
    assert all(torch.equal(value, before[key]) for key, value in gan.state_dict().items())


class Harmful:
    def __reduce__(self):
        return (pytest.fail, ('code of the file was run',))


@pytest.mark.parametrize('name', ['ffhq.pkl', 'ffhq.pth'])
def test_a_pickle_is_refused_with_the_way_out(name, tmp_path):
    (tmp_path / name).write_bytes(pickle.dumps(dict(G=Harmful()), protocol=2))
    with pytest.raises(ValueError, match='holds pickled objects.*tools/model_converters'):
        load_pretrained(build(), str(tmp_path / name))


def test_a_channel_order_that_is_none_is_refused(weights, save):
    with pytest.raises(ValueError, match=r"must be 'RGB', 'BGR' or None, got 'rgb'"):
        load_pretrained(build(), save(weights), channel_order='rgb')


@torch.no_grad()
def test_flipped_stylegan2_makes_and_takes_the_other_order_of_colors(weights):
    gan, other = build(prior_dim=0).eval(), build(prior_dim=0).eval()
    flipped = dict(weights)
    flip_colors(flipped)
    for model, state in ((gan, weights), (other, flipped)):
        model.generator.load_state_dict(
            {k.removeprefix('generator.'): v for k, v in only(state, 'generator.').items()}
        )
        model.discriminator.load_state_dict(
            {k.removeprefix('discriminator.'): v for k, v in only(state, 'discriminator.').items()}
        )
    noise, images = torch.randn(1, WIDTH), torch.randn(2, 3, SIZE, SIZE)
    made = gan.generator(noise, randomize_noise=False).flip(1)
    assert_close_to_scale(other.generator(noise, randomize_noise=False), made)
    assert_close_to_scale(other.discriminator(images.flip(1)), gan.discriminator(images))


CASES = {
    'sngan': ('DISPSNGAN', 'ProjDiscriminator', dict(with_spectral_norm=True), {}),
    'biggan, torch': ('DISPBigGAN', 'BigGANDiscriminator', *[dict(sn_style='torch')] * 2),
    'biggan, ajbrock': ('DISPBigGAN', 'BigGANDiscriminator', {}, {}),
}


def build_small(case, seed=0, prior_dim=5, disc=None, **gen):
    kind, network, gen_options, disc_options = CASES[case]
    wrapped = {**dict(type=network, base_channels=8), **disc_options, **(disc or {})}
    torch.manual_seed(seed)
    gan = MODELS.build(
        dict(
            type=kind,
            prior_dim=prior_dim,
            image_size=32,
            generator={
                **dict(type=f'{kind}Generator', base_channels=8, noise_size=16),
                **gen_options,
                **gen,
            },
            discriminator=dict(
                type='PriorProjectionDiscriminator',
                discriminator=wrapped,
            ),
            data_preprocessor=dict(type='DataPreprocessor'),
        )
    )
    with torch.no_grad():  # vectors of the spectral norms far from where they started
        gan.discriminator(torch.randn(2, 3, 32, 32), torch.randn(2, prior_dim))
    return gan.eval()


def call(gan):
    rng = torch.Generator().manual_seed(0)
    noise, prior, img = (
        torch.randn(2, *size, generator=rng).double() for size in ((16,), (5,), (3, 32, 32))
    )
    gan.double()
    made = gan.generator(noise, prior=prior)
    return made, gan.discriminator(img, prior), gan.discriminator(img.flip(1), prior)


@torch.no_grad()
@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize(
    'name, order, is_flipped',
    [
        ('sngan_imagenet1k_convert-studio-rgb_20210709.pth', None, True),
        ('biggan_imagenet1k_128x128_b32x8.pth', None, False),
        ('biggan_imagenet1k_128x128_b32x8.pth', 'RGB', True),
    ],
)
def test_rgb_networks_of_mmagic_are_turned_for_bgr_data(case, name, order, is_flipped, save):
    source, gan = build_small(case, 0), build_small(case, 1)
    report = load_pretrained(gan, save(source.state_dict(), name), channel_order=order)
    (made, scores, turned), (expected, straight, flipped) = call(gan), call(source)
    assert_close_to_scale(made, expected.flip(1) if is_flipped else expected)
    assert_close_to_scale(scores, flipped if is_flipped else straight)
    assert_close_to_scale(turned, straight if is_flipped else flipped)
    assert not torch.allclose(straight, flipped)
    expected = 'generator to BGR, discriminator to BGR' if is_flipped else 'none'
    assert report.colors.endswith(f'flipped: {expected}')


@torch.no_grad()
@pytest.mark.parametrize(('ours', 'theirs'), [('torch', 'ajbrock'), ('ajbrock', 'torch')])
def test_one_kind_of_spectral_norm_becomes_the_other(ours, theirs, save):
    source, gan = build_small(f'biggan, {theirs}', 0), build_small(f'biggan, {ours}', 1)
    for layer in source.modules():
        if hasattr(layer, 'weight_u'):  # converged: else one more step is another estimate
            u, _, v = torch.linalg.svd(layer.weight_orig.flatten(1), full_matrices=False)
            layer.weight_u.copy_(u[:, 0])
            layer.weight_v.copy_(v[0])
    load_pretrained(gan, save(source.state_dict()))
    # the vectors are computed from the file's in float32
    for made, expected in zip(call(gan), call(source), strict=True):
        assert_close_to_scale(made, expected, num_terms=1000, dtype=torch.float32)


def test_spectral_norm_on_one_side_only_is_refused(save):
    file = save(build_small('sngan').state_dict())
    plain = build_small('sngan', 1, with_spectral_norm=False)
    with pytest.raises(ValueError, match=r'checkpoint only .*set with_spectral_norm=True'):
        load_pretrained(plain, file)
    file = save(plain.state_dict())
    with pytest.raises(ValueError, match=r'model only .*set with_spectral_norm=False'):
        load_pretrained(build_small('sngan'), file)


def test_a_norm_of_another_condition_begins_anew_and_other_shapes_are_refused(save):
    source = build_small('biggan, torch', split_noise=True)
    target = build_small('biggan, torch', 1, prior_dim=0, split_noise=True)
    file = save(source.state_dict())
    norm = target.generator.conv_blocks[0].bn1.gain
    before = [value.clone() for value in norm.parameters()]
    report = load_pretrained(target, file)
    assert report.mismatched
    assert all('.gain.' in key or '.bias.' in key for key in report.mismatched)
    assert all(torch.equal(new, old) for new, old in zip(norm.parameters(), before, strict=True))
    weight = 'output_layer.conv.weight_orig'
    assert torch.equal(target.generator.state_dict()[weight], source.generator.state_dict()[weight])
    wider = build_small('biggan, torch', split_noise=True, base_channels=12)
    with pytest.raises(ValueError, match='does not fit this model: generator.*in the checkpoint'):
        load_pretrained(wider, file)


@torch.no_grad()
@pytest.mark.parametrize(
    ('name', 'meta', 'inplace'),
    [
        ('biggan_cvt_BigGAN-PyTorch_rgb.pth', {}, False),
        ('sngan_woReLUinplace_fid.pth', {}, False),
        ('sngan_wReLUinplace_fid.pth', {}, True),
        ('x.safetensors', dict(activations_in_place='False'), False),
    ],
)
def test_activations_in_place_must_be_those_of_the_checkpoint(save, name, meta, inplace):
    gan, other = (
        build_small('biggan, torch', disc=dict(act_cfg=dict(type='ReLU', inplace=value)))
        for value in (inplace, not inplace)
    )
    file = save(gan.state_dict(), name, **meta)
    load_pretrained(gan, file)
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(ValueError, match=rf'work in place.*set act_cfg=dict\(inplace={inplace}\)'):
        load_pretrained(other, file)
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())
    # they change the score
    assert (call(gan)[1] - call(other)[1]).abs().max() > 1e-3
    # what a generator's activations change is used by nothing else
    load_pretrained(other, save(only(gan.state_dict(), 'generator.'), name, **meta))
