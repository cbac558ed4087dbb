"""The demo's numbers tell right digits from wrong ones, and every checkpoint is measured."""

import json

import numpy as np
import pytest
import torch


@pytest.fixture(scope='module')
def digits(tool):
    return tool('benchmarks/digits.py')


def measure_agreement(digits, trained, tmp_path, capsys):
    out = tmp_path / 'numbers.json'
    digits.main(['agreement', str(trained / 'iter_4.pth'), '--noises', '1', '--out', str(out)])
    assert 'samples show the digit' in capsys.readouterr().out
    return json.loads(out.read_text())


def test_a_gan_that_shows_the_image_of_each_prior_agrees(
    digits, trained, tmp_path, capsys, monkeypatch
):
    from disp_plugin import applications
    from disp_plugin.priors import PriorBank
    from disp_plugin.settings import find_bank_file

    cfg = applications.load_gan(trained / 'iter_4.pth')[1]

    def show_images(gan, noise, prior, *args, **kwargs):
        keys, images = digits.load_images(cfg)
        known = torch.as_tensor(PriorBank.open(find_bank_file(cfg)).lookup(keys))
        yield images[torch.cdist(prior, known).argmin(dim=1).numpy()]

    monkeypatch.setattr(applications, 'sample_images', show_images)
    numbers = measure_agreement(digits, trained, tmp_path, capsys)
    assert numbers['samples'] == 100
    assert numbers['classifier_accuracy'] > 0.95
    assert numbers['class_agreement'] > 0.9
    assert set(numbers['by_digit']) == {'5', '6', '7', '8', '9'}


def test_a_gan_that_has_learned_nothing_is_near_chance(digits, trained, tmp_path, capsys):
    assert measure_agreement(digits, trained, tmp_path, capsys)['class_agreement'] < 0.5


def test_the_digit_is_the_first_of_the_file_name(digits):
    assert digits.classes(['train/7_0042.png', '5_0001.png']) == [7, 5]


def test_features_are_gray_values_or_means_of_blocks(digits):
    images = np.zeros((1, 16, 16, 3), dtype=np.uint8)
    images[0, :2, 2:4] = 255
    features = digits.features(images, 8)
    assert features.shape == (1, 64)
    assert features[0, 1] == 1 and features.sum() == 1
    whole = digits.features(images)
    assert whole.shape == (1, 256) and whole[0].nonzero()[0].tolist() == [2, 3, 18, 19]


def test_every_checkpoint_of_a_run_is_measured(digits, trained, tmp_path):
    out = tmp_path / 'out.json'
    digits.main(['distance', str(trained), '--num', '20', '--out', str(out)])
    numbers = json.loads(out.read_text())
    assert list(numbers['frechet_distance']) == ['0', '2', '4']
    distances = list(numbers['frechet_distance'].values())
    assert len(set(distances)) == 3 and min(distances) > numbers['training_images'] > 0
    assert numbers['fell'] == pytest.approx(distances[0] / distances[2])


def test_a_folder_without_checkpoints_is_named(digits, tmp_path, capsys):
    with pytest.raises(SystemExit):
        digits.main(['distance', str(tmp_path)])
    assert 'neither a checkpoint nor a log' in capsys.readouterr().err
