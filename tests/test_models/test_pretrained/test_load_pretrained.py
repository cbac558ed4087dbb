"""DISP-StyleGAN2 starts from unconditional checkpoints of three layouts, or says why it cannot."""

import argparse
import copy
import functools
import pickle

import pytest
import torch
from mmagic.registry import MODELS
from mmengine.registry import MODEL_WRAPPERS
from mmengine.runner import CheckpointLoader

from disp_plugin.models import DISPBigGAN, DISPBigGANGenerator, load_pretrained
from disp_plugin.models.pretrained.checkpoint_layouts import rename_checkpoint

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


def make(prior_dim=6, gen=None, disc=None):
    return MODELS.build(
        dict(
            type='DISPStyleGAN2',
            prior_dim=prior_dim,
            generator=dict(
                type='DISPStyleGAN2Generator',
                out_size=SIZE,
                **dict(dict(channel_max=WIDTH, style_channels=WIDTH), **(gen or {})),
            ),
            discriminator=dict(
                type='PriorProjectionDiscriminator',
                equalized_lr=True,
                discriminator=dict(
                    type='SizedStyleGAN2Discriminator',
                    in_size=SIZE,
                    **dict(dict(channel_max=WIDTH), **(disc or {})),
                ),
            ),
            data_preprocessor=dict(type='DataPreprocessor'),
            ema_config=dict(type='ExponentialMovingAverage'),
        )
    )


@pytest.fixture
def weights(make_official_weights):
    """G, D and G_ema as NVlabs names them, all with values of their own."""
    gen, disc = make_official_weights(SIZE, WIDTH, WIDTH)
    ema = {k: v if 'filter' in k else v + 1 for k, v in gen.items()}
    return dict(G=gen, D=disc, G_ema=ema)


@pytest.fixture
def save(tmp_path):
    def save(content, name='weights.pth'):
        torch.save(content, tmp_path / name)
        return str(tmp_path / name)

    return save


def save_as_mmagic(save, weights, name):
    """A file of mmagic, which has no mean style."""
    _, state = rename_checkpoint(weights)
    return save(dict(state_dict={k: v for k, v in state.items() if 'w_avg' not in k}), name)


def networks(gan):
    return (
        ('generator_ema', gan.generator.state_dict()),
        ('generator_ema', gan.generator_ema.module.state_dict()),
        ('discriminator', gan.discriminator.discriminator.state_dict()),
    )


def test_official_weights_arrive_in_bgr_with_the_first_matrix_widened(weights, save):
    gan = build()
    report = load_pretrained(gan, save(weights))
    _, source = rename_checkpoint(weights)
    for name, state in networks(gan):
        for key in [key for key in state if not key.startswith('prior_projection')]:
            expected = source[f'{name}.{key}']
            if key == FROM_RGB or (key.startswith('to_rgb') and expected.ndim > 3):
                expected = expected[:, [2, 1, 0]]
            elif key == FIRST:
                expected = torch.cat([expected, expected], dim=1)
            assert torch.equal(state[key], expected), key
    assert report.layout == 'NVlabs'
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
    noise, embedding = torch.randn(2, 5, WIDTH)
    styles = gan.generator.style_mapping(torch.cat([noise, embedding], dim=1))
    # without the normalization at its beginning
    expected = baseline.generator.style_mapping[1:]((noise + embedding) / 2**0.5)
    torch.testing.assert_close(styles, expected)


def test_weights_are_flipped_and_widened_in_a_distributed_run_too(weights, save, tmp_path):
    expected, gan = build(), build()
    load_pretrained(expected, save(weights))
    store = f'file://{tmp_path / "store"}'
    torch.distributed.init_process_group('gloo', store, rank=0, world_size=1)
    try:
        wrapped = MODEL_WRAPPERS.build(
            dict(type='MMSeparateDistributedDataParallel', module=gan)
        ).module
        load_pretrained(wrapped, save(weights))
        state = wrapped.state_dict()
    finally:
        torch.distributed.destroy_process_group()
    loaded = [key for key in state if key.startswith('generator') and 'prior' not in key]
    assert FIRST in {key.removeprefix('generator.') for key in loaded}
    assert all(torch.equal(state[key], expected.state_dict()[key]) for key in loaded)


def test_generator_starts_from_the_plain_weights_on_request(weights, save):
    gan = build()
    load_pretrained(gan, save(weights), use_ema=False)
    key, official = 'conv1.activate.bias', 'synthesis.b4.conv1.bias'
    assert torch.equal(gan.generator.state_dict()[key], weights['G'][official])
    assert torch.equal(gan.generator_ema.module.state_dict()[key], weights['G_ema'][official])


def test_networks_that_turn_colors_themselves_keep_the_weights(weights, save):
    gan = build(gen=dict(bgr2rgb=True), disc=dict(input_bgr2rgb=True))
    report = load_pretrained(gan, save(weights))
    _, source = rename_checkpoint(weights)
    for key in TO_RGB:
        assert torch.equal(gan.generator.state_dict()[key], source[f'generator_ema.{key}'])
    state = gan.discriminator.discriminator.state_dict()
    assert torch.equal(state[FROM_RGB], source[f'discriminator.{FROM_RGB}'])
    assert report.colors == 'RGB in the checkpoint; flipped: none'


def test_networks_that_are_shown_rgb_keep_the_weights(weights, save):
    gan = build()
    gan.data_preprocessor.output_channel_order = 'RGB'
    report = load_pretrained(gan, save(weights))
    assert report.colors == 'RGB in the checkpoint; flipped: none'
    turned = build(gen=dict(bgr2rgb=True))
    turned.data_preprocessor.output_channel_order = 'RGB'
    report = load_pretrained(turned, save(weights))
    assert 'generator to BGR' in report.colors and 'discriminator' not in report.colors


def test_the_loaded_average_outlives_the_first_update(weights, save):
    gan = build()
    load_pretrained(gan, save(weights), use_ema=False)
    gan.generator_ema.update_parameters(gan.generator)
    key = 'conv1.activate.bias'
    plain, average = (weights[name]['synthesis.b4.conv1.bias'] for name in ('G', 'G_ema'))
    momentum = gan.generator_ema.momentum
    expected = average + momentum * (plain - average)
    torch.testing.assert_close(gan.generator_ema.module.state_dict()[key], expected)


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
    report = load_pretrained(gan, save_as_mmagic(save, weights, name), channel_order=order)
    bias = weights['G_ema']['synthesis.b4.torgb.bias']
    expected = bias[[2, 1, 0]] if is_flipped else bias
    assert torch.equal(gan.generator.state_dict()['to_rgb1.bias'].flatten(), expected)
    assert report.layout == 'mmagic'


@torch.no_grad()
def test_a_missing_mean_style_is_estimated(weights, save):
    gan = build(prior_dim=0)
    report = load_pretrained(gan, save_as_mmagic(save, weights, 'mmagic.pth'))
    assert report.estimated == ['generator.w_avg', 'generator_ema.module.w_avg']
    styles = gan.generator.style_mapping(torch.randn(20000, WIDTH))
    error = (gan.generator.w_avg - styles.mean(0)) / styles.std(0)
    assert error.abs().max() < 0.06
    assert torch.equal(gan.generator.w_avg, gan.generator_ema.module.w_avg)


def test_rosinalitys_training_files_are_read(weights, save):
    """Beside the weights they hold optimizers and the options, which are an argparse.Namespace."""
    disc = {
        'convs.0.0.weight': weights['D']['b16.fromrgb.weight'],
        'convs.0.1.bias': weights['D']['b16.fromrgb.bias'],
        'final_linear.1.weight': weights['D']['b4.out.weight'],
    }
    options = argparse.Namespace(size=SIZE, lr=0.002)
    file = save(dict(d=disc, d_optim=dict(state={}), args=options, ada_aug_p=0.5))
    # read, known, and refused only since most of it is not here
    with pytest.raises(ValueError, match=r'discriminator\.convs\.1\.\S+: the checkpoint lacks it'):
        load_pretrained(build(), file)


def test_a_network_that_the_file_lacks_stays_as_it_is(weights, save):
    gan = build()
    before = {key: value.clone() for key, value in gan.discriminator.state_dict().items()}
    report = load_pretrained(gan, save(weights['G_ema']))
    after = gan.discriminator.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    bias = weights['G_ema']['synthesis.b4.conv1.bias']
    for generator in (gan.generator, gan.generator_ema.module):
        assert torch.equal(generator.conv1.activate.bias, bias)
    assert 'discriminator.*' in str(report)
    assert load_pretrained(gan, save(weights['D'])).estimated == []


def test_state_of_augmentation_begins_anew(save):
    disc = dict(data_aug=dict(type='ADAAug', augment_initial_p=0.0))
    gan = build(disc=disc)
    state = {key: value.clone() for key, value in gan.state_dict().items()}
    key = 'discriminator.discriminator.ada_aug.aug_pipeline.p'
    state[key] += 0.7
    report = load_pretrained(gan, save(dict(state_dict=state)))
    assert gan.state_dict()[key] == 0
    assert key in report.new and key in report.ignored


def other_kernel(weights, _):
    name = 'synthesis.b8.conv0.resample_filter'
    return dict(G={**weights['G'], name: torch.full((4, 4), 1 / 16)})


REFUSED = {
    'larger': (
        lambda weights, make: dict(zip('GD', make(32, WIDTH, WIDTH), strict=True)),
        r'generator\.convs\.4\.\S+: the model lacks it.*'
        'the checkpoint is of 32 px, the model of 16 px; image_size',
    ),
    'smaller': (
        lambda weights, make: dict(zip('GD', make(8, WIDTH, WIDTH), strict=True)),
        r'generator\.convs\.2\.\S+: the checkpoint lacks it.*'
        'the checkpoint is of 8 px, the model of 16 px; image_size',
    ),
    'discriminator alone of another size': (
        lambda weights, make: dict(D=make(8, WIDTH, WIDTH)[1]),
        'discriminator.*the checkpoint is of 8 px, the model of 16 px',
    ),
    'wider': (
        lambda weights, make: dict(G=make(SIZE, 12, WIDTH)[0]),
        r'generator\.constant_input\.input is \(1, 12, 4, 4\) in the checkpoint and '
        r'\(1, 8, 4, 4\) in the model.*both are of 16 px; channel_multiplier, channel_base',
    ),
    'shallower mapping': (
        lambda weights, make: dict(G=make(SIZE, WIDTH, WIDTH, num_mlps=2)[0]),
        r'generator\.style_mapping\.3\.bias: the checkpoint lacks it.*num_mlps',
    ),
    'class-conditional': (
        lambda weights, make: dict(G=make(SIZE, WIDTH, WIDTH, c_dim=5)[0]),
        r'generator\.mapping\.embed\.bias: the model lacks it',
    ),
    'another blur': (
        other_kernel,
        r'generator\.convs\.0\.conv\.blur\.kernel is another',
    ),
    'no discriminator blocks': (
        lambda weights, make: dict(D={k: v for k, v in weights['D'].items() if 'skip' not in k}),
        r'discriminator\.convs\.1\.skip\.0\.kernel: the checkpoint lacks it',
    ),
    'nothing': (
        lambda weights, make: {'backbone.weight': torch.zeros(1)},
        'none of its 1 entries has a place',
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_another_network_is_refused_and_nothing_loaded(case, weights, make_official_weights, save):
    make_content, message = REFUSED[case]
    gan = build()
    before = {key: value.clone() for key, value in gan.state_dict().items()}
    with pytest.raises(ValueError, match=f'(?s)does not fit this model: .*{message}'):
        load_pretrained(gan, save(make_content(weights, make_official_weights)))
    assert all(torch.equal(value, before[key]) for key, value in gan.state_dict().items())


class Harmful:
    def __reduce__(self):
        return (pytest.fail, ('code of the file was run',))


@pytest.mark.parametrize('name', ['ffhq.pkl', 'ffhq.pth'])
def test_a_pickle_is_refused_with_the_way_to_save_its_weights(name, tmp_path):
    (tmp_path / name).write_bytes(pickle.dumps(dict(G=Harmful()), protocol=2))
    with pytest.raises(ValueError, match='holds pickled objects.*checkout of') as error:
        load_pretrained(build(), str(tmp_path / name))
    lines = str(error.value).split('\n\n')[1]
    compile(lines, 'lines', 'exec')
    assert f"open('{name}', 'rb')" in lines and "'ffhq-tensors.pth')" in lines


def test_a_pickle_is_not_even_downloaded(monkeypatch):
    monkeypatch.setattr(CheckpointLoader, 'load_checkpoint', pytest.fail)
    with pytest.raises(ValueError, match=r'^ffhq\.pkl holds pickled objects'):
        load_pretrained(build(), 'https://example.com/ffhq.pkl')


def test_a_damaged_file_and_one_without_names_are_refused(tmp_path, save):
    (tmp_path / 'damaged.pth').write_bytes(b'PK\x03\x04 and no more')
    with pytest.raises(ValueError, match=r'damaged\.pth is no checkpoint, or is damaged'):
        load_pretrained(build(), str(tmp_path / 'damaged.pth'))
    with pytest.raises(ValueError, match='holds a list, but a checkpoint is a dict of tensors'):
        load_pretrained(build(), save([torch.zeros(1)]))


def test_a_channel_order_that_is_none_is_refused(weights, save):
    with pytest.raises(ValueError, match=r"must be 'RGB', 'BGR' or None, got 'rgb'"):
        load_pretrained(build(), save(weights), channel_order='rgb')


def test_a_norm_of_another_condition_begins_anew_and_other_shapes_are_refused(save):
    def biggan(prior_dim, base_channels=4):
        torch.manual_seed(prior_dim)
        return DISPBigGAN(
            DISPBigGANGenerator(
                32, prior_dim, base_channels=base_channels, noise_size=16, split_noise=True
            ),
            prior_dim=prior_dim,
        )

    source, target = biggan(6), biggan(0)
    file = save({'state_dict': source.state_dict()})
    norm = target.generator.conv_blocks[0].bn1.gain
    before = [value.clone() for value in norm.parameters()]
    report = load_pretrained(target, file)
    assert report.mismatched
    assert all('.gain.' in key or '.bias.' in key for key in report.mismatched)
    assert all(torch.equal(new, old) for new, old in zip(norm.parameters(), before, strict=True))
    assert torch.equal(
        target.generator.output_layer.conv.weight, source.generator.output_layer.conv.weight
    )
    with pytest.raises(ValueError, match='does not fit this model: generator.*in the checkpoint'):
        load_pretrained(biggan(0, base_channels=8), file)
