"""Pixels as features."""

import numpy as np
import pytest
import torch
from PIL import Image

from disp_plugin.encoders import PixelEncoder


def test_gray_values_are_resized_as_pillow_does_it():
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    found = PixelEncoder(size=8)(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    assert found.shape == (2, 64)
    for image, row in zip(images, found, strict=True):
        gray = Image.fromarray(image.mean(axis=2).astype(np.float32))
        expected = np.asarray(gray.resize((8, 8), Image.Resampling.BILINEAR)) / 255
        np.testing.assert_allclose(row.reshape(8, 8), expected, atol=1e-5)


def test_color_is_kept_on_request():
    red = torch.zeros(1, 3, 4, 4)
    red[:, 0] = 1
    assert PixelEncoder(2, color=True)(red).tolist() == [[1.0] * 4 + [0.0] * 8]
    assert PixelEncoder(2, color=True).fingerprint() != PixelEncoder(2).fingerprint()


def test_a_size_below_one_is_refused():
    with pytest.raises(ValueError, match='at least 1, but is 0'):
        PixelEncoder(0)
