"""Priors of timm's models are those that timm's own transform and pooling give."""

import urllib.request

import huggingface_hub
import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torchvision.transforms.functional import pil_to_tensor

from disp_plugin.encoders import TimmEncoder

NAME = 'mobilenetv3_small_050'


@pytest.fixture(scope='module')
def weights_file(tmp_path_factory):
    torch.manual_seed(3)
    model = timm.create_model(NAME)
    file = tmp_path_factory.mktemp('weights') / 'model.safetensors'
    save_file(model.state_dict(), file)
    return file


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    return tmp_path


def test_a_picture_gets_the_features_that_timm_gives_it(weights_file, smooth_image):
    model = timm.create_model(NAME, checkpoint_path=str(weights_file)).eval()
    config = timm.data.resolve_model_data_config(model)
    with torch.no_grad():
        batch = timm.data.create_transform(**config, is_training=False)(smooth_image)[None]
        want = model.forward_head(model.forward_features(batch), pre_logits=True)
    encoder = TimmEncoder(NAME, checkpoint=str(weights_file))
    got = encoder(pil_to_tensor(smooth_image)[None] / 255)
    assert got.shape == want.shape == (1, encoder.prior_dim)
    # timm rounds the resized picture to 8 bits, the encoder does not
    assert (got - want).norm() < 0.02 * want.norm()


def test_cached_weights_are_used_without_a_network(weights_file, monkeypatch):
    asked = []

    def find(repo, name, **kwargs):
        asked.append((repo, name))
        return str(weights_file) if name == 'model.safetensors' else None

    monkeypatch.setattr(huggingface_hub, 'try_to_load_from_cache', find)
    cached = TimmEncoder(NAME)
    assert asked == [(f'timm/{NAME}.lamb_in1k', 'model.safetensors')]
    assert cached.fingerprint() == TimmEncoder(NAME, checkpoint=str(weights_file)).fingerprint()


def test_missing_weights_say_which_file_is_missed_where_and_what_helps(empty_cache):
    with pytest.raises(FileNotFoundError) as caught:
        TimmEncoder('resnet18', download=False)
    folder = empty_cache / 'models--timm--resnet18.a1_in1k'
    assert str(caught.value) == (
        f'the weights of timm/resnet18 are not at hand: no file model.safetensors or '
        f'pytorch_model.bin in {folder} (download=False). Where there is a network, run `hf '
        f'download timm/resnet18.a1_in1k model.safetensors` and copy {folder} here, or set '
        'checkpoint= to a copy of that file'
    )


def test_without_a_network_it_is_said_at_once(empty_cache, monkeypatch):
    def fail(request, timeout):
        raise OSError('the network is down')

    def hang(*args, **kwargs):
        raise AssertionError('the hub would be asked for most of a minute')

    monkeypatch.setattr(urllib.request, 'urlopen', fail)
    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', hang)
    with pytest.raises(FileNotFoundError, match=r'\(downloading failed: the network is down\)'):
        TimmEncoder('resnet18')


def test_a_checkpoint_that_timm_would_load_in_part_is_refused(tmp_path):
    state = timm.create_model(NAME).state_dict()
    dropped = next(name for name in state if name.startswith('blocks'))
    del state[dropped]
    save_file({f'module.{name}': value for name, value in state.items()}, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match=f'is not a checkpoint of timm/{NAME}') as caught:
        TimmEncoder(NAME, checkpoint=str(tmp_path / 'x.pth'))
    assert dropped in str(caught.value)
    assert 'use CheckpointEncoder' in str(caught.value)


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        (dict(model='resnet81'), ValueError, "no network 'timm/resnet81' .*similar names: "),
        (dict(model='resnet18', checkpoint='no.pth'), FileNotFoundError, "checkpoint is 'no.pth'"),
        (dict(model='resnet10t_x'), ValueError, 'there is no network'),
    ],
)
def test_what_does_not_exist_is_named(options, error, message):
    with pytest.raises(error, match=message):
        TimmEncoder(**options)
