"""Features of real images: the right ones, computed once, and anew whenever they must be."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmagic.registry import DATASETS
from PIL import Image

from disp_plugin.encoders import PixelEncoder
from disp_plugin.evaluation.reference_set import ReferenceSet
from disp_plugin.evaluation.spaces import FeatureSpace
from tests.numerics import assert_close_to_scale


class CountingSpace(FeatureSpace):
    """Counts the images that its encoder sees."""

    def __init__(self, size=4):
        super().__init__('pixels', PixelEncoder(size))
        self.num_seen = 0
        encode = self.encoder.forward

        def forward(img):
            self.num_seen += len(img)
            return encode(img)

        self.encoder.forward = forward


@pytest.fixture
def make(tmp_path):
    def make(cfg, **kwargs):
        return ReferenceSet(DATASETS.build(cfg), 'val', tmp_path / 'cache', **kwargs)

    return make


def test_features_are_those_of_the_files_and_computed_once(make, view):
    cfg, space = view(5, seed=3), CountingSpace()
    found = make(cfg).features(space)
    files = sorted(Path(cfg['data_root']).glob('*.png'))
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    expected = PixelEncoder(4)(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
    assert_close_to_scale(found, expected)
    assert space.num_seen == 5
    reference = make(cfg)
    reference.features(space)
    reference.features(space)
    assert space.num_seen == 5  # from the file, then from memory
    other = CountingSpace(size=2)
    assert make(cfg).features(other).shape == (5, 4)
    assert other.num_seen == 5


def test_a_changed_image_is_encoded_anew(make, view):
    cfg, space = view(5, seed=3), CountingSpace()
    before = make(cfg).features(space)
    path = make(cfg).paths[2]
    pixels = np.asarray(Image.open(path))
    Image.fromarray(255 - pixels).save(path)
    after = make(cfg).features(space)
    changed = (before != after).any(dim=1)
    assert changed.tolist() == [False, False, True, False, False]


def test_a_damaged_file_is_replaced(make, view, tmp_path):
    cfg, space = view(5, seed=3), CountingSpace()
    before = make(cfg).features(space)
    (file,) = (tmp_path / 'cache').glob('*.safetensors')
    content = bytearray(file.read_bytes())
    content[-5] ^= 0xFF
    file.write_bytes(content)
    assert torch.equal(make(cfg).features(space), before)
    assert space.num_seen == 10
    make(cfg).features(space)
    assert space.num_seen == 10


def test_mirrored_views_follow_on_request_only(make, view):
    reference, space = make(view(3, seed=4, flip=True)), CountingSpace()
    assert reference.describe().flips and not reference.describe(mirrored=False).flips
    plain, both = reference.features(space), reference.features(space, mirrored=True)
    assert plain.shape == (3, 16) and both.shape == (6, 16)
    assert torch.equal(both[:3], plain)
    assert_close_to_scale(both[3:].reshape(3, 4, 4), plain.reshape(3, 4, 4).flip(2))


def test_a_large_set_is_represented_by_a_choice_that_stays(make, view):
    cfg = view(9, seed=5)
    chosen = [make(cfg, max_images=4).views.image_keys for _ in range(2)]
    assert chosen[0] == chosen[1] and len(chosen[0]) == 4
    assert chosen[0] != make(cfg).views.image_keys[:4]
    assert len(make(cfg)) == 9


def test_images_come_in_the_order_of_the_features(make, view):
    reference, space = make(view(5, seed=6)), CountingSpace()
    pixels = torch.from_numpy(reference.images([3, 1]))
    assert_close_to_scale(space.features(pixels), reference.features(space)[[3, 1]])
