"""tools/pretrain_encoder.py: its options reach the training, and its errors are one line."""

import pytest

from disp_plugin.encoders import CheckpointEncoder
from disp_plugin.encoders.backbone import read_checkpoint

ARCH = ['--arch', 'timm/resnet10t', '--arch-kwargs', '{"channels": [8, 8, 8, 16], "stem_width": 8}']


@pytest.fixture(scope='module')
def pretrain_encoder(tool):
    return tool('pretrain_encoder.py')


def test_every_option_reaches_the_training_and_the_file(
    pretrain_encoder, image_folder, tmp_path, capsys
):
    out_file = tmp_path / 'sub' / 'encoder.safetensors'
    options = (
        '--size 16 --min-crop 0.4 --color-jitter 0.7 --grayscale 0.1 --no-flip --rotation 5 '
        '--shift 0.1 --epochs 1 --batch-size 4 --lr 0.01 --weight-decay 0.2 --temperature 0.3 '
        '--seed 7 --workers 0 --device cpu'
    )
    pretrain_encoder.main([str(image_folder), str(out_file), *ARCH, *options.split()])
    training = read_checkpoint(out_file)[1]['training']
    assert training.pop('images')
    assert training == dict(
        arch='timm/resnet10t',
        arch_kwargs=dict(channels=[8, 8, 8, 16], stem_width=8),
        in_size=16, min_crop=0.4, flip=False, color_jitter=0.7, grayscale=0.1, rotation=5.0,
        shift=0.1, epochs=1, batch_size=4, lr=0.01, weight_decay=0.2, temperature=0.3,
        projection_dim=128, seed=7,
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert f'{out_file}: 16-d priors, from 8 images in ' in printed
    assert f"use it by encoder = dict(type='CheckpointEncoder', checkpoint='{out_file}')" in printed
    assert CheckpointEncoder(checkpoint=str(out_file)).prior_dim == 16


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            ['--batch-size', '9'],
            "batch-size is 9, but '{folder}' holds only 8 images; set it to 8 or",
        ),
        (['--epochs', '0'], 'epochs must be at least 1, but is 0'),
        (['--arch', 'resnet81'], "there is no network 'resnet81' in torchvision or timm"),
        (['--arch-kwargs', '{'], "--arch-kwargs must be JSON, but is '{{'"),
        (['--arch-kwargs', '3'], "--arch-kwargs must be a JSON object, but is '3'"),
        (['--size', '2'], 'size must be at least 8, but is 2'),
    ],
)
def test_an_error_of_the_user_is_one_line(
    pretrain_encoder, image_folder, tmp_path, refusal, options, message
):
    arguments = [str(image_folder), str(tmp_path / 'x.pth'), *options]
    error = refusal(pretrain_encoder.main, arguments)
    assert error.startswith('error: ' + message.format(folder=image_folder))
    assert 'Traceback' not in error
    assert not list(tmp_path.glob('x.pth*'))
