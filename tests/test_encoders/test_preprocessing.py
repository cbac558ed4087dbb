"""Preprocessing is that of the libraries the weights come from."""

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image

from disp_plugin.encoders import Preprocessing


def smooth_image(height=90, width=130):
    """A picture without noise, on which all antialiased resizes nearly agree."""
    y, x = np.mgrid[:height, :width] / 20
    rgb = np.stack([np.sin(x) + np.cos(y), np.sin(x + y), np.cos(x - y)], -1)
    return Image.fromarray((127.5 + 60 * rgb).clip(0, 255).astype(np.uint8))


def as_batch(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize('name', ['vgg16', 'efficientnet_b0', 'vit_b_16', 'convnext_tiny'])
def test_it_does_what_the_transforms_of_torchvision_do(name):
    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    image = smooth_image()
    got = Preprocessing.from_torchvision(transform)(as_batch(image))
    torch.testing.assert_close(got, transform(as_batch(image)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', ['resnet18', 'vit_tiny_patch16_224', 'convnext_atto', 'resnet10t'])
def test_it_does_what_timm_does_to_a_picture(name):
    config = timm.data.resolve_data_config(
        {}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict()
    )
    image = smooth_image()
    want = timm.data.create_transform(**config, is_training=False)(image)[None]
    got = Preprocessing.from_timm(config)(as_batch(image))
    assert got.shape == want.shape
    # timm rounds to 8 bits after the resize: half of 1/255, over the smallest std
    assert (got - want).abs().max() < 1.5 / 255 / min(config['std'])


def test_a_squashing_model_of_timm_is_squashed():
    config = dict(
        input_size=(3, 64, 48), crop_pct=1.0, crop_mode='squash', interpolation='bicubic',
        mean=(0.5,) * 3, std=(0.5,) * 3,
    )  # fmt: skip
    want = timm.data.create_transform(**config, is_training=False)(smooth_image())[None]
    got = Preprocessing.from_timm(config)(as_batch(smooth_image()))
    assert got.shape == want.shape == (1, 3, 64, 48)
    assert (got - want).abs().max() < 1.5 / 255 / 0.5


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
        Preprocessing.from_timm({**config, 'crop_mode': 'border'})
