"""Priors of torchvision's classifiers are those an independent forward of the library gives."""

import pytest
import torch
import torchvision

from disp_plugin.encoders import TorchvisionEncoder
from disp_plugin.encoders.fetch_weights import cached_file
from disp_plugin.encoders.torchvision_encoder import find_weights
from tests.numerics import assert_close_to_scale

NAME = 'shufflenet_v2_x0_5'
SMALL = dict(resize=(32, 32))


@pytest.fixture(scope='module')
def small_file(tmp_path_factory):
    torch.manual_seed(1)
    file = tmp_path_factory.mktemp('weights') / 'small.pth'
    torch.save(torchvision.models.get_model(NAME).state_dict(), file)
    return file


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    return tmp_path / 'hub' / 'checkpoints'


@pytest.mark.slow
def test_vgg16_fc7_from_a_local_file_is_the_library_s_own(tmp_path):
    # on the meta device first, since drawing 138 million numbers by the layers takes seconds
    with torch.device('meta'):
        vgg = torchvision.models.vgg16()
    vgg = vgg.to_empty(device='cpu').eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for value in vgg.parameters():
            fan_in = value[0].numel() if value.dim() > 1 else 1e4
            value.uniform_(-1, 1).mul_((6 / fan_in) ** 0.5)
    torch.save(vgg.state_dict(), tmp_path / 'vgg16.pth')
    img = torch.rand(2, 3, 40, 56)

    encoder = TorchvisionEncoder('vgg16', layer='fc7', checkpoint=str(tmp_path / 'vgg16.pth'))
    (tmp_path / 'vgg16.pth').unlink()
    got = encoder(img)

    with torch.no_grad():
        x = torchvision.models.VGG16_Weights.IMAGENET1K_V1.transforms()(img)
        x = torch.flatten(vgg.avgpool(vgg.features(x)), 1)
        want = vgg.classifier[4](vgg.classifier[3](vgg.classifier[1](vgg.classifier[0](x))))
    assert encoder.prior_dim == 4096
    assert got.shape == (2, 4096)
    assert (got >= 0).all()
    assert 0.05 < (got > 0).float().mean() < 0.95
    assert_close_to_scale(got, want)


@pytest.mark.parametrize(
    ('layer', 'module'), [(None, 'conv5'), ('logits', 'fc'), ('stage3', 'stage3')]
)
def test_pooled_features_logits_and_any_layer_can_be_taken(small_file, layer, module):
    encoder = TorchvisionEncoder(NAME, layer, checkpoint=str(small_file), preprocessing=SMALL)
    small = torchvision.models.get_model(NAME)
    small.load_state_dict(torch.load(small_file))
    seen, img = [], torch.rand(2, 3, 32, 32)
    small.get_submodule(module).register_forward_hook(lambda part, args, out: seen.append(out))
    with torch.no_grad():
        small.eval()((img - 0.5) / 0.5)
    want = seen[0].mean((2, 3)) if seen[0].dim() == 4 else seen[0]
    assert encoder.prior_dim == want.shape[1]
    assert_close_to_scale(encoder(img), want)


def test_preprocessing_is_that_of_the_weights():
    v1 = find_weights('resnet50', 'IMAGENET1K_V1')
    v2 = find_weights('resnet50', 'IMAGENET1K_V2')
    assert v1.transforms().resize_size != v2.transforms().resize_size
    assert find_weights('resnet50') is v1
    assert find_weights('vit_h_14').name == 'IMAGENET1K_SWAG_E2E_V1'


def test_missing_weights_say_which_file_is_missed_where_and_what_helps(empty_cache):
    url = torchvision.models.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1.url
    with pytest.raises(FileNotFoundError) as caught:
        TorchvisionEncoder(NAME, download=False)
    target = empty_cache / url.rsplit('/', 1)[-1]
    assert str(caught.value) == (
        f'the weights of torchvision/shufflenet_v2_x0_5 (IMAGENET1K_V1) are not at hand: no file '
        f'{target.name} in {empty_cache} (download=False). Fetch {url} where there is a network '
        f'and copy it to {target}, or set checkpoint= to a copy of it'
    )


def test_a_failed_download_gives_the_same_advice_and_leaves_no_file(empty_cache, monkeypatch):
    def fail(url, dst, *args, **kwargs):
        raise OSError('the network is down')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', fail)
    with pytest.raises(FileNotFoundError, match=r'\(downloading failed: the network is down\)'):
        TorchvisionEncoder(NAME)
    assert not list(empty_cache.iterdir())


def test_cached_weights_are_used_and_compared_with_the_hash_in_their_name(
    empty_cache, small_file, monkeypatch
):
    import hashlib

    published = find_weights(NAME)
    content = small_file.read_bytes()
    file = cached_file(published.url)
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f'{file} is damaged .* its name says f707e7126e; fetch'):
        TorchvisionEncoder(NAME, download=False)

    right = file.with_name(f'small-{hashlib.sha256(content).hexdigest()[:10]}.pth')
    file.rename(right)
    monkeypatch.setattr('disp_plugin.encoders.fetch_weights.cached_file', lambda url: right)
    cached = TorchvisionEncoder(NAME, download=False)
    local = TorchvisionEncoder(NAME, checkpoint=str(small_file))
    assert cached.fingerprint() == local.fingerprint()


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        (dict(model='vgg17'), ValueError, "torchvision has no classifier 'vgg17'; it has .*vgg16"),
        (
            dict(model='vgg16', weights='V9'),
            ValueError,
            "no weights 'V9' of vgg16; it has IMAGENET1K_V1",
        ),
        (
            dict(model=NAME, untrained=True, layer='layer9'),
            ValueError,
            "shufflenet_v2_x0_5 has no layer 'layer9'; some it has: ",
        ),
        (
            dict(model='squeezenet1_1', untrained=True),
            ValueError,
            'squeezenet1_1 does not end with a linear layer.*set layer= to one of: features',
        ),
        (
            dict(model=NAME, checkpoint='no.pth'),
            FileNotFoundError,
            "checkpoint is 'no.pth'",
        ),
    ],
)
def test_what_does_not_exist_is_named(options, error, message):
    with pytest.raises(error, match=message):
        TorchvisionEncoder(**options)


def test_a_checkpoint_of_another_network_is_refused(small_file):
    with pytest.raises(ValueError, match='weights of this backbone') as caught:
        TorchvisionEncoder('shufflenet_v2_x1_0', checkpoint=str(small_file))
    assert 'of another shape: stage2.0.branch1.2.weight' in str(caught.value)
