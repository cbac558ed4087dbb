"""DISP GANs start from checkpoints of mmagic's GANs, or say why they cannot."""

import copy
from types import MappingProxyType

import pytest
import torch
from mmengine.registry import MODEL_WRAPPERS
from safetensors.torch import save_file

from disp_plugin.models import load_pretrained
from tests.gans import NOISE, make_gan
from tests.numerics import assert_close_to_scale

SIZE = 16
FIRST = 'style_mapping.1.linear.weight_orig'
TO_RGB = ('to_rgb1.bias', 'to_rgb1.conv.weight_orig', 'to_rgbs.1.bias')
FROM_RGB = 'convs.0.0.conv.weight_orig'


def build(image_size=SIZE, **changes):
    average = dict(type='ExponentialMovingAverage')
    return make_gan('stylegan2', image_size=image_size, ema_config=average, **changes)


@pytest.fixture(scope='module')
def usual():
    return build()


@pytest.fixture
def gan(usual):
    return copy.deepcopy(usual)


def make_weights(**changes):
    """Entries of mmagic's unconditional StyleGAN2, all but the kernels with values of their own."""

    def draw(key, value):
        # the mapping learns at a hundredth of the rate, and has larger weights
        scale = 1 if 'style_mapping' not in key else 10 if key.endswith('bias') else 100
        return value if 'kernel' in key else torch.randn_like(value) * scale

    gan = build(prior_dim=0, seed=1, **changes)
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


@pytest.fixture(scope='module')
def weights():
    return MappingProxyType(make_weights())


@pytest.fixture
def save(tmp_path):
    def save(state, name='weights.pth', **meta):
        file = tmp_path / name
        if file.suffix == '.safetensors':
            save_file({key: value.clone() for key, value in state.items()}, file, meta)
        else:
            torch.save(dict(state_dict=dict(state), meta={'iter': 5, **meta}), file)
        return str(file)

    return save


def only(weights, *prefixes):
    return {key: value for key, value in weights.items() if key.startswith(prefixes)}


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_weights_arrive_in_bgr_with_the_first_matrix_widened(gan, weights, save, suffix):
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
def test_training_begins_with_styles_of_the_pretrained_mapping(gan, weights, save):
    file, baseline = save(weights), build(prior_dim=0)
    load_pretrained(gan, file)
    load_pretrained(baseline, file)
    noise, embedding = torch.randn(2, 5, NOISE).double()
    styles = gan.generator.double().style_mapping(torch.cat([noise, embedding], dim=1))
    # without the normalization at its beginning
    mapping = baseline.generator.double().style_mapping[1:]
    expected = mapping((noise + embedding) / 2**0.5)
    # the factors of the layers' equalized learning rates are in float32
    assert_close_to_scale(styles, expected, num_terms=100, dtype=torch.float32)


def test_weights_are_flipped_and_widened_in_a_distributed_run_too(gan, weights, save, tmp_path):
    expected = copy.deepcopy(gan)
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


def test_generator_starts_from_the_plain_weights_on_request(gan, weights, save):
    load_pretrained(gan, save(weights), use_ema=False)
    key = 'conv1.activate.bias'
    plain, average = (weights[f'{part}.{key}'] for part in ('generator', 'generator_ema.module'))
    assert torch.equal(gan.generator.state_dict()[key], plain)
    assert torch.equal(gan.generator_ema.module.state_dict()[key], average)
    # the loaded average outlives the first update
    gan.generator_ema.update_parameters(gan.generator)
    expected = average + gan.generator_ema.momentum * (plain - average)
    torch.testing.assert_close(gan.generator_ema.module.state_dict()[key], expected)


TURNING = dict(generator=dict(bgr2rgb=True), network=dict(input_bgr2rgb=True))


@pytest.mark.parametrize(
    ('changes', 'data_order', 'is_flipped'),
    [(TURNING, 'BGR', False), (TURNING, 'RGB', True), ({}, 'RGB', False), ({}, 'BGR', True)],
)
def test_networks_that_face_rgb_data_or_turn_it_keep_weights_for_rgb(
    changes, data_order, is_flipped, weights, save
):
    gan = build(**changes)
    gan.data_preprocessor.output_channel_order = data_order
    report = load_pretrained(gan, save(weights, channel_order='RGB'))
    loaded = gan.generator.state_dict()['to_rgb1.bias']
    expected = weights['generator_ema.module.to_rgb1.bias']
    assert torch.equal(loaded, expected.flip(1) if is_flipped else expected)
    loaded = gan.discriminator.discriminator.state_dict()[FROM_RGB]
    expected = weights[f'discriminator.{FROM_RGB}']
    assert torch.equal(loaded, expected.flip(1) if is_flipped else expected)
    flipped = 'generator to BGR, generator_ema to BGR, discriminator to BGR'
    assert report.colors.endswith(f'flipped: {flipped if is_flipped else "none"}')


@pytest.mark.parametrize(
    ('name', 'order', 'expected'),
    [
        ('stylegan2_c2_ffhq_256_b4x8.pth', None, 'BGR'),
        ('stylegan2-cat-config-f-official.pth', None, 'RGB'),
        ('sngan_imagenet1k_convert-studio-rgb_20210709.pth', None, 'RGB'),
        ('biggan_imagenet1k_128x128_b32x8.pth', 'RGB', 'RGB'),
        ('stylegan2-cat-config-f-official.pth', 'BGR', 'BGR'),
    ],
)
def test_mmagics_files_are_bgr_unless_official(gan, weights, save, name, order, expected):
    report = load_pretrained(gan, save(weights, name), channel_order=order)
    assert report.layout == 'mmagic'
    assert report.colors.startswith(f'{expected} in the checkpoint')


@torch.no_grad()
def test_a_missing_mean_style_is_estimated(weights, save):
    gan = build(prior_dim=0)
    file = save({key: value for key, value in weights.items() if 'w_avg' not in key})
    report = load_pretrained(gan, file)
    assert report.estimated == ['generator.w_avg', 'generator_ema.module.w_avg']
    styles = gan.generator.style_mapping(torch.randn(20000, NOISE))
    error = (gan.generator.w_avg - styles.mean(0)) / styles.std(0)
    # means over 10,000 and 20,000 styles: 5 standard errors
    assert error.abs().max() < 5 * (1 / 10000 + 1 / 20000) ** 0.5
    assert torch.equal(gan.generator.w_avg, gan.generator_ema.module.w_avg)


def test_a_network_that_the_file_lacks_stays_as_it_is(gan, weights, save):
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
    gan = build(network=dict(data_aug=dict(type='ADAAug', augment_initial_p=0.0)))
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
        lambda _: make_weights(image_size=32),
        r'generator\.convs\.4\.\S+: the model lacks it.*'
        r'the checkpoint is of 32 px, the model of 16 px; model\.image_size',
    ),
    'smaller': (
        lambda _: make_weights(image_size=8),
        r'generator\.convs\.2\.\S+: the checkpoint lacks it.*'
        r'the checkpoint is of 8 px, the model of 16 px; model\.image_size',
    ),
    'discriminator alone of another size': (
        lambda _: only(make_weights(image_size=8), 'discriminator.'),
        'discriminator.*the checkpoint is of 8 px, the model of 16 px',
    ),
    'wider': (
        lambda _: only(make_weights(generator=dict(channel_max=12)), 'generator.'),
        r'generator\.constant_input\.input is \(1, 12, 4, 4\) in the checkpoint and '
        r'\(1, 8, 4, 4\) in the model.*both are of 16 px; channel_multiplier, channel_base',
    ),
    'shallower mapping': (
        lambda _: only(make_weights(generator=dict(num_mlps=1)), 'generator.'),
        r'generator\.style_mapping\.2\.bias: the checkpoint lacks it.*num_mlps',
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
        'no weights match: it has backbone.weight, and .*tools/model_converters',
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_another_network_is_refused_and_nothing_loaded(case, gan, weights, save):
    make_content, message = REFUSED[case]
    before = {key: value.clone() for key, value in gan.state_dict().items()}
    with pytest.raises(ValueError, match=f'(?s)does not fit this model: .*{message}'):
        load_pretrained(gan, save(make_content(weights)), use_ema=False)
    assert all(torch.equal(value, before[key]) for key, value in gan.state_dict().items())


def test_a_channel_order_that_is_none_is_refused(gan, weights, save):
    with pytest.raises(ValueError, match=r"must be 'RGB', 'BGR' or None, got 'rgb'"):
        load_pretrained(gan, save(weights), channel_order='rgb')


CASES = {
    'sngan': dict(generator=dict(with_spectral_norm=True)),
    'biggan, torch': dict(generator=dict(sn_style='torch'), network=dict(sn_style='torch')),
    'biggan, ajbrock': dict(generator=dict(sn_style='ajbrock'), network=dict(sn_style='ajbrock')),
    'stylegan2': {},
}


def build_small(case, seed=0, network=None, prior_dim=6, **generator):
    options = {**CASES[case]}
    options['generator'] = {**options.get('generator', {}), **generator}
    options['network'] = {**options.get('network', {}), **(network or {})}
    gan = make_gan(case.split(',')[0], seed=seed, prior_dim=prior_dim, **options)
    with torch.no_grad():  # vectors of the spectral norms far from where they started
        gan.discriminator(
            torch.randn(2, 3, gan.image_size, gan.image_size), torch.randn(2, prior_dim)
        )
    return gan.eval()


def call(gan):
    rng = torch.Generator().manual_seed(0)
    shapes = (NOISE,), (gan.prior_dim,), (3, gan.image_size, gan.image_size)
    inputs = [torch.randn(2, *shape, generator=rng) for shape in shapes]
    fixed = dict(randomize_noise=False)
    if type(gan).__name__ != 'DISPStyleGAN2':  # whose networks turn images into float32
        gan, inputs, fixed = gan.double(), [value.double() for value in inputs], {}
    noise, prior, img = inputs
    made = gan.generator(noise, prior=prior, **fixed)
    return made, gan.discriminator(img, prior), gan.discriminator(img.flip(1), prior)


@torch.no_grad()
@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('order', ['RGB', 'BGR'])
def test_rgb_networks_are_turned_for_bgr_data(case, order, save):
    source, gan = build_small(case, 0), build_small(case, 1)
    load_pretrained(gan, save(source.state_dict()), channel_order=order)
    (made, scores, turned), (expected, straight, flipped) = call(gan), call(source)
    if order == 'RGB':
        expected, straight, flipped = expected.flip(1), flipped, straight
    assert_close_to_scale(made, expected)
    assert_close_to_scale(scores, straight)
    assert_close_to_scale(turned, flipped)
    assert not torch.allclose(straight, flipped)


@torch.no_grad()
def test_weights_of_wrapped_networks_are_found(save):
    source, gan = build_small('sngan'), build_small('sngan', 1)
    wrapped = {k.replace('.', '.module.', 1): v for k, v in source.state_dict().items()}
    load_pretrained(gan, save(wrapped))
    for made, expected in zip(call(gan), call(source), strict=True):
        assert torch.equal(made, expected)


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
    # a self-modulation with a hidden layer has no matrix in the place of another
    target = build_small('biggan, torch', 1, prior_dim=0, split_noise=True, modulation_dim=0)
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


class TestClassConditional:
    """Starting from a checkpoint of mmagic's class-conditional BigGAN."""

    @pytest.fixture
    def checkpoint(self, save):
        average = dict(type='ExponentialMovingAverage')
        upstream = make_gan('biggan', True, seed=1, ema_config=average)
        for value in upstream.generator_ema.parameters():
            value.data += 1
        return save(upstream.state_dict()), upstream

    def test_all_but_the_class_embeddings_is_loaded_and_reported(self, checkpoint):
        file, upstream = checkpoint
        gan = make_gan('biggan', ema_config=dict(type='ExponentialMovingAverage'))
        report = load_pretrained(gan, file)
        new = {key for key in report.new if 'prior_projection' in key}
        assert {key.split('.')[0] for key in new} == {'generator', 'generator_ema', 'discriminator'}
        assert set(report.new) - new <= {'generator_ema.steps'}
        embeddings = ('shared_embedding', 'proj_y')
        assert report.ignored and all(any(e in key for e in embeddings) for key in report.ignored)
        assert not report.mismatched
        averaged = upstream.generator_ema.module
        for ours, theirs in (
            (gan.generator, averaged),
            (gan.generator_ema.module, averaged),
            (gan.discriminator.discriminator, upstream.discriminator.discriminator),
        ):
            for key, value in theirs.state_dict().items():
                if not key.startswith(embeddings):
                    assert torch.equal(ours.state_dict()[key], value), key
        assert 'shared_embedding.weight' in str(report)

    def test_init_weights_loads_after_initializing(self, checkpoint):
        file, upstream = checkpoint
        gan = make_gan('biggan', pretrained=dict(checkpoint=file))
        gan.init_weights()
        ours, theirs = (g.discriminator.discriminator.decision for g in (gan, upstream))
        assert torch.equal(ours.weight_orig, theirs.weight_orig)


@torch.no_grad()
@pytest.mark.parametrize(
    ('name', 'meta', 'inplace'),
    [
        ('biggan_cvt_BigGAN-PyTorch_rgb.pth', {}, False),
        ('sngan_woReLUinplace_fid.pth', {}, False),
        ('sngan_wReLUinplace_fid.pth', {}, True),
        ('biggan_imagenet1k_128x128_b32x8_best_is.pth', {}, True),
        ('x.safetensors', dict(activations_in_place='False'), False),
    ],
)
def test_activations_in_place_must_be_those_of_the_checkpoint(save, name, meta, inplace):
    gan, other = (
        build_small('biggan, torch', network=dict(act_cfg=dict(type='ReLU', inplace=value)))
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
