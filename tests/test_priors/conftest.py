"""A small encoder that keeps the contract, and the data set that it encodes."""

import hashlib

import pytest
import torch
from torch import nn

from disp_plugin.datasets import ImageFolderDataset
from disp_plugin.encoders import PriorEncoder


class TinyEncoder(PriorEncoder):
    """Means of the image's quarters through a fixed random matrix: sees flips and colors."""

    def __init__(self, prior_dim=6, layer='last', seed=0):
        nn.Module.__init__(self)
        self.prior_dim, self.layer = prior_dim, layer
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer('weight', torch.randn(12, prior_dim, generator=generator))
        self.num_seen = 0
        self.before_batch = lambda: None

    def forward(self, img):
        self.before_batch()
        self.num_seen += len(img)
        return nn.functional.adaptive_avg_pool2d(img, 2).flatten(1) @ self.weight

    def describe(self):
        weights = hashlib.sha256(self.weight.numpy().tobytes()).hexdigest()
        return {
            'architecture': 'tiny',
            'layer': self.layer,
            'preprocessing': 'none',
            'weights': weights,
        }

    def fingerprint(self):
        return hashlib.sha256(repr(self.describe()).encode()).hexdigest()


@pytest.fixture(scope='session')
def make_encoder():
    return TinyEncoder


@pytest.fixture(scope='session')
def make_dataset():
    """A function (folder, changes) -> data set that crops, resizes and flips."""

    def make(folder, **changes):
        return ImageFolderDataset(str(folder), **{'image_size': 12, 'flip': True, **changes})

    return make
