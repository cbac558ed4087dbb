"""Classification trains the encoder that SimCLR would, by labels, and is kept in the same way."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from disp_plugin.encoders import CheckpointEncoder
from disp_plugin.encoders.load_weights import read_checkpoint
from disp_plugin.encoders.pretrain_simclr import pretrain_simclr
from disp_plugin.encoders.pretrain_supervised import SupervisedRun, pretrain_supervised
from disp_plugin.encoders.simclr_run import SimCLROptions
from disp_plugin.encoders.simclr_views import ViewOptions

TINY = SimCLROptions(
    arch='timm/resnet10t',
    arch_kwargs=dict(channels=[8, 8, 8, 8], stem_width=8),
    views=ViewOptions(in_size=16, min_crop=0.8, flip=False, color_jitter=0, grayscale=0),
    epochs=8,
    batch_size=16,
    lr=1e-2,
)


@pytest.fixture(scope='module')
def flags(tmp_path_factory):
    """32 images whose upper or lower half is bright, with noise."""
    folder, rng = tmp_path_factory.mktemp('flags'), np.random.default_rng(0)
    labels = {}
    for index in range(32):
        pixels = rng.integers(0, 60, (16, 16, 3), dtype=np.uint8)
        half = slice(0, 8) if index % 2 else slice(8, 16)
        pixels[half] += 120
        Image.fromarray(pixels).save(folder / f'{index:02d}.png')
        labels[f'{index:02d}.png'] = 'upper' if index % 2 else 'lower'
    return folder, labels


def train(flags, out_file, *arguments, **options):
    folder, labels = flags
    options = {'options': TINY, 'progress': False, **options}
    return pretrain_supervised(str(folder), out_file, labels, *arguments, **options)


@pytest.fixture(scope='module')
def clean(flags, tmp_path_factory):
    return train(flags, tmp_path_factory.mktemp('clean') / 'encoder.pth')


def test_true_labels_are_learned_and_permuted_ones_of_noise_are_not(flags, clean, tmp_path):
    assert clean.paired > 0.9 and clean.loss < 0.4
    corrupted = train(flags, tmp_path / 'x.pth', 1.0)
    assert corrupted.paired < clean.paired - 0.15
    assert corrupted.loss > clean.loss + 0.2


def test_the_file_is_an_encoder_whose_priors_tell_the_classes(flags, clean):
    folder, labels = flags
    encoder = CheckpointEncoder(checkpoint=str(clean.file))
    assert encoder.prior_dim == clean.prior_dim == 8
    images = [np.asarray(Image.open(folder / key)) for key in labels]
    priors = encoder(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255)
    upper = torch.tensor([label == 'upper' for label in labels.values()])
    between = (priors[upper].mean(0) - priors[~upper].mean(0)).norm()
    within = (priors[upper] - priors[upper].mean(0)).norm(dim=1).mean()
    assert between > 2 * within


def test_the_head_is_as_wide_as_there_are_classes_and_is_thrown_away(flags, clean):
    options = dataclasses.replace(TINY, epochs=1)
    run = SupervisedRun(options, {}, 'cpu', classes={'a': 0, 'b': 2, 'c': 1})
    assert run.head.out_features == 3
    tensors, _ = read_checkpoint(clean.file)
    assert {name.removeprefix('state_dict.') for name in tensors} == set(run.backbone.state_dict())


def test_the_loss_is_the_cross_entropy_of_both_views():
    run = SupervisedRun(TINY, {}, 'cpu', classes={'a': 0, 'b': 1, 'c': 2})
    first, second = torch.randn(4, 3).double(), torch.randn(4, 3).double()
    label = torch.tensor([0, 2, 1, 2])
    loss, share = run._judge(first, second, label)
    expected, right = [], []
    for scores in (first, second):
        for row, target in zip(scores.numpy(), label.tolist(), strict=True):
            expected.append(np.log(np.exp(row).sum()) - row[target])
            right.append(row.argmax() == target)
    assert np.isclose(loss.item(), np.mean(expected))
    assert np.isclose(share.item(), np.mean(right))


def test_a_stopped_training_goes_on_to_the_same_weights(flags, clean, tmp_path, monkeypatch):
    class Stopped(Exception):
        """Stands for an interrupt."""

    save = SupervisedRun.save

    def save_and_stop(self, part_file):
        save(self, part_file)
        if self.epoch == 3:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(SupervisedRun, 'save', save_and_stop)
        with pytest.raises(Stopped):
            train(flags, tmp_path / 'x.pth')
    assert not (tmp_path / 'x.pth').exists()
    train(flags, tmp_path / 'x.pth')
    again, whole = (read_checkpoint(file)[0] for file in (tmp_path / 'x.pth', clean.file))
    assert all(torch.equal(value, again[name]) for name, value in whole.items())


def test_a_file_of_other_labels_is_not_taken_for_this_one(flags, clean):
    assert train(flags, clean.file).seconds == 0  # up to date
    with pytest.raises(ValueError, match='of another training'):
        train(flags, clean.file, 0.5)
    folder, labels = flags
    swapped = {key: 'lower' if label == 'upper' else 'upper' for key, label in labels.items()}
    with pytest.raises(ValueError, match=r'other labels'):
        train((folder, swapped), clean.file)


def test_labels_must_be_there_and_differ(flags, tmp_path):
    folder, labels = flags
    with pytest.raises(ValueError, match=r"1 images have no label, such as '00\.png'"):
        train((folder, dict(list(labels.items())[1:])), tmp_path / 'x.pth')
    with pytest.raises(ValueError, match='are of one class'):
        train((folder, dict.fromkeys(labels, 'a')), tmp_path / 'x.pth')


def test_errors_advise_on_classification_and_not_on_simclr(flags, tmp_path):
    options = dataclasses.replace(TINY, lr=1e30)
    with pytest.raises(ValueError, match='not finite after epoch .*lower lr') as diverged:
        train(flags, tmp_path / 'x.pth', options=options)
    (tmp_path / 'few').mkdir()
    Image.new('RGB', (16, 16)).save(tmp_path / 'few' / 'a.png')
    with pytest.raises(ValueError, match='holds only 1; it needs at least 2') as alone:
        pretrain_simclr(str(tmp_path / 'few'), tmp_path / 'y.pth', TINY, progress=False)
    for error in (diverged, alone):
        assert 'temperature' not in str(error.value) and 'SimCLR' not in str(error.value)
