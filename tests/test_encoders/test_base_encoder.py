"""What must hold for every registered encoder; preprocessing against the libraries' own."""

import copy
from dataclasses import replace

import pytest
import timm
import torch
import torchvision
from mmagic.registry import MODELS
from torch import nn
from torchvision.transforms.functional import center_crop, pil_to_tensor

from disp_plugin import precision
from disp_plugin.encoders import Preprocessing, PriorEncoder
from disp_plugin.encoders.base_encoder import hash_tensors
from disp_plugin.encoders.timm_encoder import read_preprocessing as read_timm
from disp_plugin.encoders.torchvision_encoder import read_preprocessing as read_torchvision
from tests.numerics import assert_close_to_scale

SMALL = dict(channels=(8, 16, 32, 64), stem_width=8)
CASES = {
    'TorchvisionEncoder': dict(
        model='resnet18', untrained=True, preprocessing=dict(resize=(32, 32))
    ),
    'TimmEncoder': dict(
        model='resnet10t', untrained=True, model_kwargs=SMALL, preprocessing=dict(resize=(32, 32))
    ),
    'CheckpointEncoder': dict(arch='timm/resnet10t', arch_kwargs=SMALL, untrained=True, in_size=32),
    'PackagedEncoder': dict(preprocessing=dict(resize=(32, 32))),
    'PixelEncoder': dict(size=4),
    'InceptionEncoder': dict(),
}


@pytest.fixture(scope='module', autouse=True)
def local_weights(inception_weights):
    CASES['InceptionEncoder']['checkpoint'] = str(inception_weights)


def registered_encoders():
    classes = MODELS.module_dict.items()
    return sorted(n for n, c in classes if isinstance(c, type) and issubclass(c, PriorEncoder))


def build(name, **changes):
    return MODELS.build(dict(type=name, **{**CASES[name], **changes}))


@pytest.fixture(scope='module', params=sorted(CASES))
def encoder(request):
    return build(request.param)


def test_every_registered_encoder_is_held_to_the_contract():
    assert registered_encoders() == sorted(CASES)


def test_a_prior_does_not_depend_on_the_batch(encoder):
    img = torch.rand(6, 3, 20, 24)
    whole = encoder(img)
    singly = torch.cat([encoder(img[i : i + 1]) for i in range(6)])
    odd = torch.cat([encoder(img[:5]), encoder(img[5:])])
    assert whole.shape == (6, encoder.prior_dim)
    assert whole.dtype == torch.float32
    assert (whole[0] - whole[1]).abs().max() > 1e-3  # not invariant for being constant
    # kernels may sum another batch in another order
    assert_close_to_scale(singly, whole)
    assert_close_to_scale(odd, whole)


def test_an_encoder_stays_frozen_whatever_its_owner_does(encoder):
    img = torch.rand(4, 3, 20, 20, requires_grad=True)
    owner = nn.ModuleList([encoder])
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    first = encoder(img)
    owner.train()
    again = encoder(img)
    assert not any(module.training for module in encoder.modules())
    assert not any(value.requires_grad for value in encoder.parameters())
    assert not again.requires_grad
    assert torch.equal(first, again)
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_building_an_encoder_leaves_the_random_numbers_of_the_run_alone():
    for name in CASES:
        state = torch.get_rng_state()
        build(name)
        assert torch.equal(torch.get_rng_state(), state), name


@pytest.mark.parametrize(
    ('changes', 'part'),
    [
        (dict(seed=1), 'weights'),
        (dict(in_size=40), 'preprocessing'),
        (dict(mean=(0.5, 0.5, 0.4)), 'preprocessing'),
        (dict(interpolation='bicubic'), 'preprocessing'),
        (dict(layer='layer3'), 'layer'),
        (dict(arch='timm/resnet14t'), 'architecture'),
    ],
)
def test_each_change_of_an_encoder_changes_its_fingerprint_and_is_named(changes, part):
    before, after = build('CheckpointEncoder'), build('CheckpointEncoder', **changes)
    assert before.fingerprint() != after.fingerprint()
    assert before.describe()[part] != after.describe()[part]


def test_the_hash_of_weights_is_of_their_values_and_names_and_not_of_their_order():
    # in every process and version: banks that users have already built are found by it
    assert (
        hash_tensors([('a', torch.arange(6.0).reshape(2, 3))])
        == 'ca1c01aa7978aa5c74d4722deb1590e8d39c8cf0699fc9adbfcba57a4d6e6df4'
    )
    a, b = torch.randn(3, 2), torch.randn(4).bfloat16()
    reference = hash_tensors([('a', a), ('b', b), ('num_batches_tracked', torch.tensor(1))])
    assert hash_tensors([('b', b), ('a', a)]) == reference
    assert hash_tensors([('b', a), ('a', b)]) != reference
    assert hash_tensors([('a', a.reshape(2, 3)), ('b', b)]) != reference
    almost = a.clone()
    almost[2, 1] += 1e-6
    assert hash_tensors([('a', almost), ('b', b)]) != reference


@pytest.mark.parametrize(
    ('img', 'message'),
    [
        (torch.rand(3, 8, 8), r'shape \(N, 3, H, W\).*got \(3, 8, 8\) of torch.float32'),
        (torch.rand(2, 1, 8, 8), r'got \(2, 1, 8, 8\)'),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r'got .* of torch.uint8'),
        (torch.full((1, 3, 8, 8), 255.0), r'lie in \[255, 255\]; divide 8-bit images by 255'),
        (torch.full((1, 3, 8, 8), -1.0), r'turn \[-1, 1\] to \[0, 1\] by \(img \+ 1\) / 2'),
        (torch.full((1, 3, 8, 8), float('nan')), r'lie in \[nan, nan\]'),
    ],
)
def test_images_of_another_shape_or_range_are_refused(img, message):
    with pytest.raises(ValueError, match=message):
        build('CheckpointEncoder')(img)


def test_decoded_images_are_encoded_as_they_are_in_another_memory_format(encoder):
    pixels = torch.randint(256, (3, 20, 24, 3), dtype=torch.uint8)
    contiguous = copy.deepcopy(encoder).to(memory_format=torch.contiguous_format)
    want = contiguous(pixels.permute(0, 3, 1, 2).contiguous().float() / 255)
    got = encoder.encode(pixels)
    assert got.dtype == torch.float32
    assert_close_to_scale(got, want)


@pytest.mark.parametrize('name', ['TorchvisionEncoder', 'TimmEncoder', 'CheckpointEncoder'])
def test_another_precision_is_a_part_of_the_fingerprint(name, monkeypatch):
    exact, rounded, auto = (build(name, precision=p) for p in ('float32', 'bfloat16', 'auto'))
    pixels = torch.randint(256, (2, 20, 24, 3), dtype=torch.uint8)
    priors, want = rounded.encode(pixels), exact.encode(pixels)
    assert priors.dtype == torch.float32 and not torch.equal(priors, want)
    # a rounding of activations in each of at most 20 layers, with room for their gains
    assert_close_to_scale(priors, want, num_terms=20, dtype=torch.bfloat16)
    assert rounded.describe() == exact.describe() | {'precision': 'bfloat16'}
    assert exact.fingerprint() == build(name).fingerprint() != rounded.fingerprint()
    for unit, same in ((None, exact), ('amx', rounded)):
        monkeypatch.setattr(precision, 'find_bfloat16', lambda _, unit=unit: unit)
        assert auto.fingerprint() == same.fingerprint()
    with pytest.raises(ValueError, match="precision is 'float16', which is for GPUs"):
        build(name, precision='float16').encode(pixels)


def test_a_layer_without_positions_to_average_is_refused():
    class Tokens(PriorEncoder):
        def __init__(self):
            super().__init__('tokens', 'blocks', Preprocessing())
            self.seal()

        def extract(self, img):
            return img.flatten(2)

    with pytest.raises(ValueError, match=r"layer 'blocks' of tokens gives .* \(1, 3, 4096\)"):
        Tokens()


@pytest.mark.parametrize('name', ['vgg16', 'efficientnet_b0', 'vit_b_16', 'convnext_tiny'])
def test_it_does_what_the_transforms_of_torchvision_do(name, smooth_image):
    weights = torchvision.models.get_model_weights(name).DEFAULT
    batch = pil_to_tensor(smooth_image)[None] / 255
    assert_close_to_scale(read_torchvision(weights)(batch), weights.transforms()(batch))


SQUASHED = dict(
    input_size=(3, 64, 48), crop_pct=1.0, crop_mode='squash', interpolation='bicubic',
    mean=(0.5,) * 3, std=(0.5,) * 3,
)  # fmt: skip


@pytest.mark.parametrize(
    'name', ['resnet18', 'vit_tiny_patch16_224', 'convnext_atto', 'resnet10t', SQUASHED]
)
def test_it_does_what_timm_does_to_a_picture(name, smooth_image):
    if name == SQUASHED:
        config = SQUASHED
    else:
        pretrained = timm.get_pretrained_cfg(name).to_dict()
        config = timm.data.resolve_data_config({}, pretrained_cfg=pretrained)
    want = timm.data.create_transform(**config, is_training=False)(smooth_image)[None]
    got = read_timm(config)(pil_to_tensor(smooth_image)[None] / 255)
    assert got.shape == want.shape == (1, *config['input_size'])
    # timm rounds to 8 bits after the resize: half of 1/255, over the smallest std
    assert (got - want).abs().max() < 1.5 / 255 / min(config['std'])


@pytest.mark.parametrize(
    'options',
    [
        dict(resize=24, crop=(20, 20)),
        dict(resize=(40, 50), interpolation='bicubic'),
        dict(crop=(20, 60)),
        dict(),
    ],
)
def test_neither_memory_format_nor_cropping_first_changes_a_bit(options):
    img = torch.rand(2, 30, 40, 3).permute(0, 3, 1, 2)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    steps = Preprocessing(**options, mean=mean, std=std)
    want = replace(steps, crop=None)(img)
    if steps.crop:
        want = center_crop(want, list(steps.crop))
    assert torch.equal(steps(img), want)
    assert torch.equal(steps(img.contiguous()), want)


def test_a_small_image_is_padded_with_the_mean():
    steps = Preprocessing(crop=(6, 6), mean=(0.2, 0.4, 0.6), std=(0.5, 0.5, 0.5))
    out = steps(torch.ones(1, 3, 2, 2))
    assert out.shape == (1, 3, 6, 6)
    assert torch.equal(out[0, :, 0, 0], torch.zeros(3))
    torch.testing.assert_close(out[0, :, 2, 2], torch.tensor([1.6, 1.2, 0.8]))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(mean=(0.5,)), r'mean must have one value for each of R, G, B, but is \(0.5,\)'),
        (dict(std=(1, 1, 0)), r'std must be positive, but is \(1, 1, 0\)'),
        (dict(interpolation='linear'), "interpolation must be one of .*, but is 'linear'"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing.from_options(options)


def test_options_of_a_config_are_understood():
    steps = Preprocessing.from_options(dict(resize=[8, 9], crop=6, mean=[0, 0, 0], std=[1, 1, 1]))
    assert steps == Preprocessing((8, 9), (6, 6), (0, 0, 0), (1, 1, 1))
    assert steps.out_size == (6, 6)


def test_a_crop_mode_that_is_not_known_is_refused():
    config = timm.get_pretrained_cfg('resnet18').to_dict()
    with pytest.raises(ValueError, match="crop_mode 'border'"):
        read_timm({**config, 'crop_mode': 'border'})
