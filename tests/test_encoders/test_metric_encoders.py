"""Inception's features against torch-fidelity and clean-fid; pixels against Pillow."""

import numpy as np
import pytest
import torch
from cleanfid.resize import build_resizer
from PIL import Image
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from disp_plugin.encoders import InceptionEncoder, PixelEncoder
from tests.numerics import assert_close_to_scale


@pytest.fixture(scope='module')
def images():
    rng = np.random.default_rng(0)
    low = rng.integers(0, 256, (3, 9, 9, 3), dtype=np.uint8)
    return low.repeat(5, axis=1).repeat(5, axis=2)


def as_batch(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def test_legacy_features_are_those_of_torch_fidelity(inception_weights, images):
    reference = FeatureExtractorInceptionV3('inception', ['2048'], str(inception_weights))
    expected = reference(as_batch(images))[0]
    encoder = InceptionEncoder(resize='legacy', checkpoint=str(inception_weights))
    found = encoder(as_batch(images).float() / 255)
    assert found.shape == (3, 2048)
    assert found.std(dim=0).mean() > 1e-3
    assert_close_to_scale(found, expected)


def test_clean_images_are_those_of_clean_fid(inception_weights, images):
    encoder = InceptionEncoder(checkpoint=str(inception_weights))
    resize = build_resizer('clean')
    expected = np.stack([resize(image) for image in images])
    found = encoder.preprocessing(as_batch(images).float() / 255) * 128 + 128
    # 16 terms, and weights from rounded positions; another resize differs by tens of 255
    assert_close_to_scale(found.permute(0, 2, 3, 1), expected, num_terms=200)


def test_the_resizer_is_part_of_the_fingerprint(inception_weights):
    clean, legacy = (
        InceptionEncoder(resize=name, checkpoint=str(inception_weights))
        for name in ('clean', 'legacy')
    )
    assert clean.fingerprint() != legacy.fingerprint()


def test_missing_weights_are_named_with_the_place_for_them(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match='Inception') as error:
        InceptionEncoder()
    assert 'weights-inception-2015-12-05-6726825d.pth' in str(error.value)
    assert str(tmp_path) in str(error.value)
    with pytest.raises(
        FileNotFoundError, match=r"'nowhere\.pth', and there is no such file.*; fetch https"
    ):
        InceptionEncoder(checkpoint='nowhere.pth')


def test_what_is_out_of_range_is_refused(tmp_path):
    file = tmp_path / 'other.pth'
    torch.save({'fc.weight': torch.zeros(2, 2)}, file)
    with pytest.raises(ValueError, match='does not hold the state dict of the Inception network'):
        InceptionEncoder(checkpoint=str(file))
    with pytest.raises(ValueError, match="'clean' or 'legacy', but is 'nearest'"):
        InceptionEncoder(resize='nearest')
    with pytest.raises(ValueError, match='at least 1, but is 0'):
        PixelEncoder(0)


def test_gray_values_are_resized_as_pillow_does_it():
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    found = PixelEncoder(size=8)(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    assert found.shape == (2, 64)
    for image, row in zip(images, found, strict=True):
        gray = Image.fromarray(image.mean(axis=2).astype(np.float32))
        expected = np.asarray(gray.resize((8, 8), Image.Resampling.BILINEAR)) / 255
        assert_close_to_scale(row.reshape(8, 8), expected, num_terms=64)  # 16, and the mean of 3


def test_color_is_kept_on_request():
    red = torch.zeros(1, 3, 4, 4)
    red[:, 0] = 1
    assert PixelEncoder(2, color=True)(red).tolist() == [[1.0] * 4 + [0.0] * 8]
    assert PixelEncoder(2, color=True).fingerprint() != PixelEncoder(2).fingerprint()
