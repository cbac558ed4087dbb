"""A tiny GAN with priors, real images, and what metrics say about both."""

import pytest
import torch
from mmagic.registry import DATASETS, MODELS

import disp_plugin.register  # noqa: F401

PIXELS = dict(type='PixelEncoder', size=4)


@pytest.fixture(scope='session')
def view(make_image_folder, tmp_path_factory):
    """A function (num, seed, flip) -> config of a folder of random images, as training sees it."""

    def make(num, seed, flip=False):
        folder = tmp_path_factory.mktemp('images')
        make_image_folder(folder, num=num, seed=seed)
        return dict(type='ImageFolderDataset', data_root=str(folder), flip=flip)

    return make


@pytest.fixture(scope='session')
def train_cfg(view):
    return view(24, seed=1)


@pytest.fixture(scope='session')
def held_out_cfg(view):
    return view(20, seed=2)


@pytest.fixture
def held_out(held_out_cfg):
    return DATASETS.build(held_out_cfg)


@pytest.fixture(scope='session')
def gan():
    """A BigGAN of 16 px that takes 16-d priors, whose sampler knows 24 of them."""
    torch.manual_seed(0)
    channels = dict(
        in_channels=[8, 8], out_channels=[8, 4], upsample=[True, True], resolution=[8, 16]
    )
    down = dict(in_channels=[3, 4], out_channels=[4, 8], downsample=[True, True], resolution=[8, 4])
    model = MODELS.build(
        dict(
            type='DISPBigGAN',
            prior_dim=16,
            prior_norm='none',
            data_preprocessor=dict(type='DataPreprocessor', output_channel_order='BGR'),
            generator=dict(
                type='DISPBigGANGenerator',
                output_scale=16,
                noise_size=8,
                shared_dim=8,
                base_channels=4,
                arch_cfg=dict(channels, attention=[False, False]),
            ),
            discriminator=dict(
                type='PriorProjectionDiscriminator',
                discriminator=dict(
                    type='BigGANDiscriminator',
                    input_scale=16,
                    base_channels=4,
                    arch_cfg=dict(down, attention=[False, False]),
                ),
            ),
            sampler=dict(type='EmpiricalPriorSampler'),
        )
    )
    from disp_plugin.priors import PriorBank

    bank = PriorBank([f'{i:02d}.png' for i in range(24)], torch.rand(24, 16))
    model.sampler.fit(bank)
    return model.eval()
