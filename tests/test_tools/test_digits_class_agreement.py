"""The demo's number tells right digits from wrong ones."""

import json

import numpy as np
import pytest
import torch


@pytest.fixture(scope='module')
def benchmark(tool):
    return tool('benchmarks/digits_class_agreement.py')


def measure(benchmark, trained, tmp_path, capsys):
    out = tmp_path / 'numbers.json'
    benchmark.main([str(trained / 'iter_4.pth'), '--noises', '1', '--out', str(out)])
    assert 'samples show the digit' in capsys.readouterr().out
    return json.loads(out.read_text())


def test_a_gan_that_shows_the_image_of_each_prior_agrees(
    benchmark, trained, tmp_path, capsys, monkeypatch
):
    def perfect(gan, noise, prior, *args, **kwargs):
        from disp_plugin.hooks.check_top_level import find_bank_file
        from disp_plugin.priors import PriorBank

        bank = PriorBank.open(find_bank_file(perfect.cfg))
        images = benchmark.training_images(perfect.cfg)
        known = torch.as_tensor(bank.lookup(images.image_keys))
        rows = torch.cdist(prior, known).argmin(dim=1).tolist()
        yield np.stack([images.view(row) for row in rows])

    from disp_plugin import applications

    load = applications.load_gan

    def load_and_note(*args):
        gan, perfect.cfg = load(*args)
        return gan, perfect.cfg

    monkeypatch.setattr(applications, 'load_gan', load_and_note)
    monkeypatch.setattr(applications, 'sample_images', perfect)
    numbers = measure(benchmark, trained, tmp_path, capsys)
    assert numbers['samples'] == 100
    assert numbers['classifier_accuracy'] > 0.95
    assert numbers['class_agreement'] > 0.9
    assert set(numbers['by_digit']) == {'5', '6', '7', '8', '9'}


def test_a_gan_that_has_learned_nothing_is_near_chance(benchmark, trained, tmp_path, capsys):
    assert measure(benchmark, trained, tmp_path, capsys)['class_agreement'] < 0.5


def test_the_digit_is_the_first_of_the_file_name(benchmark):
    assert benchmark.classes(['train/7_0042.png', '5_0001.png']) == [7, 5]
