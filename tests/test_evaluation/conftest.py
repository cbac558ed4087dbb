"""A tiny GAN with priors, real images, and their features."""

import numpy as np
import pytest
import torch
from mmagic.registry import DATASETS

from disp_plugin.encoders import PixelEncoder
from disp_plugin.priors import PriorBank
from tests.gans import make_gan


@pytest.fixture(scope='session')
def view(make_image_folder, tmp_path_factory):
    """A function (num, seed, flip) -> config of a folder of random images, as training sees it."""

    def make(num, seed, flip=False):
        folder = tmp_path_factory.mktemp('images')
        make_image_folder(folder, num=num, size=32, seed=seed)
        return dict(type='ImageFolderDataset', data_root=str(folder), flip=flip)

    return make


@pytest.fixture(scope='session')
def train_cfg(view):
    return view(24, seed=1, flip=True)


@pytest.fixture(scope='session')
def held_out_cfg(view):
    return view(20, seed=2)


@pytest.fixture
def held_out(held_out_cfg):
    return DATASETS.build(held_out_cfg)


@pytest.fixture(scope='session')
def pixels_of():
    """A function config -> its images (N, 3, H, W), uint8, RGB."""

    def read(cfg):
        images = DATASETS.build(cfg)
        rgb = np.stack([images.view(row) for row in range(len(images))])
        return torch.from_numpy(rgb).permute(0, 3, 1, 2)

    return read


@pytest.fixture(scope='session')
def encode():
    """A function images (N, 3, H, W), uint8, RGB -> 16 features each."""
    return lambda rgb: PixelEncoder(4)(rgb.float() / 255)


@pytest.fixture(scope='session')
def gan():
    """A BigGAN of 32 px that takes 16-d priors, whose sampler knows 24 of them."""
    sampler = dict(type='EmpiricalPriorSampler')
    model = make_gan('biggan', prior_dim=16, prior_norm='none', sampler=sampler)
    model.sampler.fit(PriorBank([f'{i:02d}.png' for i in range(24)], torch.rand(24, 16)))
    return model.eval()
