"""An image's prior is what the bank would hold for it."""

import numpy as np
import pytest
import torch
from mmagic.registry import DATASETS
from mmengine.config import Config
from PIL import Image

from disp_plugin.applications import encode_image, encode_shown, show_as_training
from disp_plugin.encoders import CheckpointEncoder
from disp_plugin.priors import build_bank
from tests.numerics import assert_close_to_scale

ENCODER = dict(
    type='CheckpointEncoder',
    arch='timm/resnet10t',
    arch_kwargs=dict(channels=[4, 4, 8, 8], stem_width=8),
    in_size=32,
    untrained=True,
)


@pytest.fixture
def cfg(image_folder, tmp_path):
    dataset = dict(
        type='ImageFolderDataset',
        data_root=str(image_folder),
        image_size=12,
        flip=True,
        bank_file=str(tmp_path / 'bank.safetensors'),
    )
    return Config(
        dict(
            encoder=ENCODER,
            model=dict(prior_dim=8),
            train_dataloader=dict(dataset=dataset),
        )
    )


def build(cfg):
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    return build_bank(dataset, cfg.encoder, dataset.bank_path, progress=False)


def test_the_prior_of_a_training_image_is_its_row_in_the_bank(cfg, image_folder):
    bank = build(cfg)
    for key in bank.keys[:3]:
        prior = encode_image(cfg, image_folder / key)
        assert prior.shape == (1, 8)
        assert_close_to_scale(prior, bank.lookup([key]))


def test_an_unseen_image_of_any_size_has_a_prior(cfg, tmp_path):
    Image.new('L', (40, 30), 128).save(tmp_path / 'gray.jpg')
    assert torch.isfinite(encode_image(cfg, tmp_path / 'gray.jpg')).all()


def test_priors_of_several_images_are_those_of_each_by_an_encoder_built_once(
    cfg, image_folder, monkeypatch
):
    files = sorted(image_folder.rglob('*.png'))[:3]
    each = torch.cat([encode_image(cfg, file) for file in files])
    built, devices, to = [], [], CheckpointEncoder.to
    seal = CheckpointEncoder.seal
    monkeypatch.setattr(CheckpointEncoder, 'seal', lambda self: [built.append(1), seal(self)])
    monkeypatch.setattr(
        CheckpointEncoder, 'to', lambda self, device: [devices.append(device), to(self, 'cpu')][1]
    )
    assert torch.equal(encode_image(cfg, files, torch.device('cpu')), each)
    assert built == [1] and devices == [torch.device('cpu')]
    shown = np.stack([show_as_training(cfg, file) for file in files])
    assert torch.equal(encode_shown(cfg, shown), each)


def test_another_encoder_than_the_banks_is_refused(cfg, image_folder, tmp_path):
    bank = build(cfg)
    cfg.encoder.seed = 1
    with pytest.raises(ValueError, match='encoder'):
        encode_image(cfg, image_folder / bank.keys[0])


def test_a_baseline_has_no_prior_of_an_unseen_image(cfg, image_folder):
    image = next((image_folder / 'a').iterdir())
    cfg.model.per_image = True
    with pytest.raises(ValueError, match='embeddings of training images, or of their cells'):
        encode_image(cfg, image)
    cfg.encoder, cfg.model.prior_dim = None, 0
    with pytest.raises(ValueError, match='a baseline without priors'):
        encode_image(cfg, image)


def test_damaged_and_missing_images_are_named(cfg, tmp_path):
    (tmp_path / 'bad.png').write_bytes(b'\x89PNG no')
    with pytest.raises(ValueError, match=r'bad\.png: (?!.*bank)'):
        encode_image(cfg, tmp_path / 'bad.png')
    with pytest.raises(ValueError, match='is a folder, not an image'):
        encode_image(cfg, tmp_path)
    with pytest.raises(FileNotFoundError, match=r'no\.png does not exist'):
        encode_image(cfg, tmp_path / 'no.png')
