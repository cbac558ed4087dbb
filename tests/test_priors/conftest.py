"""A small encoder that keeps the contract, and data sets in the way that configs state them."""

import hashlib

import pytest
import torch
from torch import nn

import disp_plugin.datasets  # noqa: F401


class TinyEncoder(nn.Module):
    """Means of the image's quarters through a fixed random matrix: sees flips and colors."""

    def __init__(self, prior_dim=6, layer='last', seed=0):
        super().__init__()
        self.prior_dim, self.layer = prior_dim, layer
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer('weight', torch.randn(12, prior_dim, generator=generator))
        self.num_seen = 0

    def forward(self, img):
        return nn.functional.adaptive_avg_pool2d(img, 2).flatten(1) @ self.weight

    def encode(self, img, rows):
        self.num_seen += len(img)
        return self(img)

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
def dataset_cfg():
    """A function -> config of a data set whose pipeline crops, resizes and, if asked, flips."""

    def make(folder, bank_file=None, flip=True, size=12, before=(), **kwargs):
        pipeline = [
            dict(type='LoadTrainingImage', key='gt'),
            dict(type='CenterCropLongEdge', keys='gt'),
            dict(type='Resize', keys='gt', scale=(size, size), backend='pillow'),
            *before,
        ]
        if flip:
            pipeline.append(dict(type='Flip', keys='gt', flip_ratio=0.5))
        if bank_file is not None:
            pipeline.append(dict(type='LoadPrior', bank_file=str(bank_file)))
        pipeline.append(
            dict(type='PackInputs', keys=['gt'], data_keys=['gt_prior'] if bank_file else [])
        )
        return dict(type='ImageFolderDataset', data_root=str(folder), pipeline=pipeline, **kwargs)

    return make
