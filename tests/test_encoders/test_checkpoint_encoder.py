"""A local backbone: found in its file, used as its file says, and never loaded in part."""

import pytest
import torch
import torchvision
from torch import nn

from disp_plugin.encoders import CheckpointEncoder
from tests.numerics import assert_close_to_scale


@pytest.fixture(scope='module')
def moco_file(tmp_path_factory):
    torch.manual_seed(1)
    state = torchvision.models.resnet18(num_classes=128).state_dict()
    state = {f'module.encoder_q.{name}': value for name, value in state.items()}
    file = tmp_path_factory.mktemp('moco') / 'moco.pth'
    torch.save({'state_dict': state, 'arch': 'resnet18'}, file)
    return file


def reference(file):
    resnet = torchvision.models.resnet18()
    resnet.fc = nn.Identity()
    state = torch.load(file)['state_dict']
    state = {name.removeprefix('module.encoder_q.'): value for name, value in state.items()}
    resnet.load_state_dict({n: v for n, v in state.items() if not n.startswith('fc.')})
    return resnet.eval()


def test_priors_are_the_pooled_features_of_the_backbone(moco_file):
    encoder = CheckpointEncoder(
        checkpoint=str(moco_file), arch='resnet18', in_size=32, mean=(0.1, 0.2, 0.3), std=(1, 2, 4)
    )
    img = torch.rand(3, 3, 32, 32)
    mean = torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    std = torch.tensor([1.0, 2.0, 4.0])[:, None, None]
    with torch.no_grad():
        want = reference(moco_file)((img - mean) / std)
    assert_close_to_scale(encoder(img), want)
    names = (f'state_dict.encoder_q.fc.{name}' for name in ('weight', 'bias'))
    assert encoder.report.endswith(f'ignored 2 other entries: {", ".join(names)}')


def test_the_fingerprint_is_of_the_backbone_and_not_of_how_its_file_names_it(moco_file, tmp_path):
    torch.save(reference(moco_file).state_dict(), tmp_path / 'plain.pth')
    one = CheckpointEncoder(checkpoint=str(moco_file), arch='resnet18')
    other = CheckpointEncoder(checkpoint=str(tmp_path / 'plain.pth'), arch='torchvision/resnet18')
    assert one.fingerprint() == other.fingerprint()


def test_timm_networks_are_found_and_take_arguments():
    options = dict(untrained=True, in_size=32)
    encoder, again = (
        CheckpointEncoder(arch='timm/resnet10t', arch_kwargs=dict(channels=channels), **options)
        for channels in ([8, 16, 24, 32], (8, 16, 24, 32))
    )
    assert encoder.prior_dim == 32
    assert again.fingerprint() == encoder.fingerprint()  # however a config spells it
    assert CheckpointEncoder(arch='resnet10t', **options).prior_dim == 512


def test_an_untrained_control_does_not_take_the_weights_of_its_file(moco_file):
    trained = CheckpointEncoder(checkpoint=str(moco_file), arch='resnet18').describe()
    control = CheckpointEncoder(checkpoint=str(moco_file), arch='resnet18', untrained=True)
    assert control.report is None
    changed = {name for name, value in control.describe().items() if value != trained[name]}
    assert changed == {'weights'}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(), 'CheckpointEncoder needs checkpoint=, or untrained=True for the control'),
        (dict(untrained=True), 'checkpoint None does not say which network it holds; set arch='),
        (
            dict(arch='resnet81', untrained=True),
            "there is no network 'resnet81' in torchvision or timm; similar names: .*resnet18",
        ),
        (
            dict(arch='resnet18', arch_kwargs=dict(depth=3), untrained=True),
            r"resnet18 cannot be built with \{'depth': 3\}: .*'depth'",
        ),
        (
            dict(arch='resnet18', layer='layer7', untrained=True),
            "torchvision/resnet18 has no layer 'layer7'; some it has: .*layer4",
        ),
    ],
)
def test_what_does_not_exist_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        CheckpointEncoder(**options)
