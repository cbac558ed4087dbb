"""Checkpoints of many makers give the backbone's weights, all of them or an error."""

import pytest
import torch
from torch import nn

from disp_plugin.encoders.backbone import load_all, read_checkpoint


def make_backbone(seed=0):
    torch.manual_seed(seed)
    layers = dict(conv1=nn.Conv2d(3, 4, 3), bn1=nn.BatchNorm2d(4), layer1=nn.Conv2d(4, 4, 1))
    return nn.ModuleDict(layers)


def below(prefix, seed=1):
    return {prefix + name: value for name, value in make_backbone(seed).state_dict().items()}


HEAD = {'fc.0.weight': torch.ones(2, 2), 'fc.0.bias': torch.ones(2)}
LAYOUTS = {
    'plain': {**below(''), **HEAD},
    'MoCo': {
        'state_dict': {
            **below('module.encoder_k.', 2),
            **below('module.encoder_q.'),
            **{f'module.encoder_q.{name}': value for name, value in HEAD.items()},
            'module.queue': torch.ones(2, 5),
        },
        'epoch': 3,
    },
    'MoCo v3': {
        'state_dict': {**below('module.base_encoder.'), **below('module.momentum_encoder.', 2)}
    },
    'SimCLR': {**below('backbone.'), 'projector.weight': torch.ones(2)},
    'SimCLR, wrapped': {'model': below('module.encoder.')},
    'SimCLR, convnet': {**below('convnet.'), 'projection.weight': torch.ones(2)},
    'SimCLR, converted': {'resnet': below(''), 'head': HEAD},
    'DINO': {'student': below('module.backbone.', 2), 'teacher': {**below('backbone.'), **HEAD}},
    'DINO, distributed': {'student': below('module.', 2), 'teacher': below('module.')},
    'lightly': {**below('backbone.'), **below('backbone_momentum.', 2)},
    'mmengine': {
        'meta': {'epoch': 1},
        'state_dict': {**below('backbone.'), 'head.fc.weight': torch.ones(2)},
        'optimizer': {'state': {0: {'exp_avg': torch.ones(4, 3, 3, 3)}}},
    },
}  # fmt: skip


@pytest.mark.parametrize('maker', sorted(LAYOUTS))
def test_the_backbone_that_is_meant_is_found_in_the_files_of(maker, tmp_path):
    torch.save(LAYOUTS[maker], tmp_path / 'x.pth')
    network, want = make_backbone(0), make_backbone(1)
    load_all(network, read_checkpoint(tmp_path / 'x.pth')[0], 'x.pth')
    for name, value in network.state_dict().items():
        assert torch.equal(value, want.state_dict()[name]), name


def test_heads_are_ignored_and_named():
    assert load_all(make_backbone(), LAYOUTS['SimCLR'], 'x.pth') == (
        "loaded all 8 weights of the backbone from x.pth, below 'backbone.'; ignored 1 other "
        'entries: projector.weight'
    )


def test_safetensors_are_read_as_well(tmp_path):
    from safetensors.torch import save_file

    save_file(below('backbone.'), tmp_path / 'x.safetensors')
    network = make_backbone()
    load_all(network, read_checkpoint(tmp_path / 'x.safetensors')[0], 'x')
    assert torch.equal(network['conv1'].weight, make_backbone(1)['conv1'].weight)


def test_a_file_without_one_of_the_weights_is_refused_and_nothing_is_loaded():
    tensors = below('backbone.')
    del tensors['backbone.layer1.weight']
    network = make_backbone()
    with pytest.raises(ValueError) as caught:
        load_all(network, tensors, 'x.pth')
    assert str(caught.value) == (
        'x.pth holds only 7 of the 8 weights of this backbone (missing: layer1.weight); set arch= '
        'to the network that the file was made with'
    )
    assert torch.equal(network['conv1'].weight, make_backbone(0)['conv1'].weight)
    misshapen = {**below(''), 'layer1.weight': torch.ones(5, 4, 1, 1)}
    said = r'of another shape: layer1.weight \(5, 4, 1, 1\) for \(4, 4, 1, 1\)'
    with pytest.raises(ValueError, match=said):
        load_all(network, misshapen, 'x.pth')


def test_a_file_of_something_else_is_refused():
    with pytest.raises(ValueError) as caught:
        load_all(make_backbone(), {'blocks.0.qkv': torch.ones(1)}, 'x.pth')
    assert str(caught.value) == (
        'x.pth holds no weights of this backbone: it expects names such as conv1.weight, '
        'conv1.bias, bn1.weight, bn1.bias, ... (8 in all), and the file has blocks.0.qkv; set '
        'arch= to the network that the file was made with'
    )


class Unknown:
    """An object that only unpickling by its class's code brings back."""


@pytest.mark.parametrize(
    ('content', 'error', 'message'),
    [
        (None, FileNotFoundError, 'there is no such file .*tools/pretrain_encoder.py makes one'),
        (b'<html>404</html>' * 40, ValueError, 'is a web page'),
        (torch.ones(3), ValueError, 'holds a Tensor, but a checkpoint is a dict of tensors'),
        ({'x': Unknown()}, ValueError, 'holds pickled objects .*weights_only=False'),
    ],
)
def test_what_is_no_checkpoint_is_refused(content, error, message, tmp_path):
    file = tmp_path / 'x.pth'
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    with pytest.raises(error, match=message):
        read_checkpoint(file)
