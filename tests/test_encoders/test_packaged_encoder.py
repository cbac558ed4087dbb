"""The package's weights are timm's network under other names, and are read only as published."""

import numpy as np
import pytest
import timm
import torch
import torchvision
from mmengine.config import Config
from sklearn.datasets import load_sample_images

from disp_plugin.encoders import PackagedEncoder, packaged_encoder
from disp_plugin.encoders.packaged_encoder import VGG16, find_packaged, to_timm
from tests.numerics import assert_close_to_scale

PALACE, DAISY = 698, 985  # of ImageNet's 1,000 classes


@pytest.fixture(scope='module')
def packaged():
    return torch.load(find_packaged(), weights_only=True)


@pytest.fixture(scope='module')
def encoder():
    return PackagedEncoder()


def test_every_name_of_the_package_is_one_of_timm(packaged):
    """Both list their tensors in one order, which the rule for names knows nothing of."""
    network = timm.create_model('tf_efficientnet_lite0').state_dict()
    assert [to_timm(name) for name in packaged] == list(network)
    assert len(packaged) == 296
    for name, value in packaged.items():
        assert value.shape == network[to_timm(name)].shape


def test_a_prior_is_what_timms_network_pools(encoder, packaged):
    model = timm.create_model('tf_efficientnet_lite0').eval()
    model.load_state_dict(dict(zip(model.state_dict(), packaged.values(), strict=True)))
    img = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        want = model.double().forward_features(img.double()).mean(dim=(2, 3))
    priors = encoder.extract(img)
    assert priors.shape == (2, encoder.prior_dim) == (2, 1280)
    assert_close_to_scale(priors, want)
    assert encoder.preprocessing.describe() == (
        'resize 256 bicubic, crop (224, 224), mean (0.5, 0.5, 0.5), std (0.5, 0.5, 0.5)'
    )


def test_photos_are_classified_from_their_priors(encoder, packaged):
    photos = torch.from_numpy(np.stack(load_sample_images().images))
    logits = encoder.encode(photos) @ packaged['_fc.weight'].T + packaged['_fc.bias']
    assert logits.argmax(dim=1).tolist() == [PALACE, DAISY]


def test_an_altered_file_and_a_missing_package_are_refused(tmp_path, monkeypatch):
    content = bytearray(find_packaged().read_bytes())
    content[len(content) // 2] ^= 1
    file = tmp_path / 'altered.pth'
    file.write_bytes(content)
    monkeypatch.setattr(packaged_encoder, 'find_packaged', lambda: file)
    with pytest.raises(ValueError, match=rf'^{file} was altered .* not with 57934424; run pip'):
        PackagedEncoder()
    monkeypatch.undo()
    monkeypatch.setattr(packaged_encoder, 'PACKAGE', 'no-such-package')
    assert find_packaged() is None
    missing = r'^PackagedEncoder needs .* no-such-package, .* pip install "disp_plugin\[encoder\]"'
    with pytest.raises(FileNotFoundError, match=missing):
        PackagedEncoder()
    assert PackagedEncoder(untrained=True).prior_dim == 1280


@pytest.mark.parametrize('name', ['biggan', 'stylegan2'])
def test_configs_for_any_folder_name_the_encoder_at_hand(name, repo_root, tmp_path, monkeypatch):
    published = torchvision.models.VGG16_Weights.IMAGENET1K_V1.url
    assert published.endswith(f'/{VGG16}')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    packaged = dict(type='PackagedEncoder', precision='auto')
    vgg16 = dict(type='TorchvisionEncoder', model='vgg16', precision='auto')

    def read():
        cfg = Config.fromfile(repo_root / 'configs' / f'disp_{name}_folder.py')
        bank_file = cfg.train_dataloader.dataset.bank_file
        return dict(cfg.encoder), cfg.model.prior_dim, bank_file

    assert read() == (packaged, 1280, 'lite0.safetensors')
    with monkeypatch.context() as patch:
        patch.setattr(packaged_encoder, 'PACKAGE', 'no-such-package')
        assert read() == (vgg16, 4096, 'vgg16_fc7.safetensors')
    (tmp_path / 'checkpoints').mkdir()
    (tmp_path / 'checkpoints' / VGG16).touch()
    assert read() == (vgg16, 4096, 'vgg16_fc7.safetensors')
