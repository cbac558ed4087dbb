"""tools/analyze.py: the analysis tables of the paper for a small run, and a probe of a bank."""

import json

import numpy as np
import pytest
import torch

from disp_plugin.evaluation.linear_probe import linear_probe
from disp_plugin.priors import PriorBank


@pytest.fixture(scope='module')
def analyze(tool, tmp_path_factory):
    """A function (*arguments) -> the numbers that were written."""
    folder = tmp_path_factory.mktemp('analysis')

    def run(*arguments):
        arguments = [*map(str, arguments), '--out', str(folder / 'numbers.json')]
        tool('analyze.py').main(arguments)
        return json.loads((folder / 'numbers.json').read_text())

    return run


def test_similarity_of_a_run_is_that_of_its_own_images(analyze, trained, tmp_path, capsys):
    checkpoint = trained / 'iter_4.pth'
    options = ['--num', 12, '--num-pairs', 40, '--cache-dir', tmp_path / 'cache']
    found = analyze('similarity', checkpoint, *options)
    table = capsys.readouterr().out
    assert found['images']['num'] == 12 and found['num_pairs'] == 40
    for values in found['correlation'].values():
        assert -1 <= values['pearson'] <= 1 and f'{values["pearson"]:.3f}' in table
    for rows in found['reconstruction'].values():
        assert list(rows) == ['own', 'random', 'other'] and rows['own']['num'] == 12
        assert f'{rows["own"]["mean"]:.3f} ± {rows["own"]["standard_deviation"]:.3f}' in table
    again = analyze('similarity', checkpoint, *options)
    assert again == found
    assert analyze('similarity', checkpoint, *options, '--seed', 1) != found


def test_own_similarity_is_that_of_variations_of_the_images(
    analyze, trained, tmp_path, tool, digits_folder
):
    """By another way: each image's variation by tools/sample.py, encoded by the run's encoder."""
    from disp_plugin.applications import encode_image, load_gan

    images = sorted((digits_folder / 'test').glob('*.png'))[:3]
    manifest = tmp_path / 'some.txt'
    manifest.write_text(''.join(f'test/{image.name}\n' for image in images))
    found = analyze(
        *('similarity', trained / 'iter_4.pth', '--ann-file', manifest),
        *('--num-pairs', 9, '--cache-dir', tmp_path / 'cache'),
    )
    _, cfg = load_gan(trained / 'iter_4.pth')
    own = []
    out = tmp_path / 'out'
    for row, image in enumerate(images):
        tool('sample.py').main(
            [
                *(str(trained / 'iter_4.pth'), '--out', str(out)),
                *('--num', str(row + 1), '--prior-from', str(image)),
            ]
        )
        real, made = encode_image(cfg, image), encode_image(cfg, out / f'{row:06d}.png')
        own.append(torch.cosine_similarity(real, made).item())
    assert np.isclose(found['reconstruction']['perceptual']['own']['mean'], np.mean(own), atol=1e-3)


def test_probes_are_those_of_the_banks(analyze, small_run, trained, capsys):
    found = analyze('probe', small_run.bank_file, '--folds', 4)
    bank = PriorBank.open(small_run.bank_file)
    labels = [key.split('/')[1][0] for key in bank.keys]
    expected = linear_probe(bank.take(np.arange(100)), labels, 4)
    assert found['probes'][0] == {'bank': str(small_run.bank_file), **expected._asdict()}
    assert f'{expected.accuracy:.3f}' in capsys.readouterr().out


def test_errors_are_in_the_users_words(analyze, small_run, trained, tmp_path, capsys):
    latin = tmp_path / 'latin1.csv'
    latin.write_bytes('train/0_0000.png,caf\xe9\n'.encode('latin-1'))
    checkpoint = trained / 'iter_4.pth'
    for arguments, message in (
        (['probe', tmp_path / 'no.safetensors'], 'no.safetensors'),
        (['probe', small_run.bank_file, '--labels', 'folder'], 'are of 1 class: train'),
        (['similarity', tmp_path / 'no.pth'], 'does not exist'),
        (['similarity', checkpoint, '--num', 0], '--num must be at least 2, but is 0'),
        (['similarity', checkpoint, '--seed', -1], '--seed must be at least 0, but is -1'),
        (['similarity', checkpoint, '--device', 'gpu'], "--device 'gpu' cannot be used"),
        (['probe', small_run.bank_file, '--folds', 1], '--folds must be at least 2, but is 1'),
        (['probe', small_run.bank_file, '--labels', latin], f'{latin} is not UTF-8'),
    ):
        with pytest.raises(SystemExit) as stop:
            analyze(*arguments)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err


def test_a_folder_in_place_of_the_file_is_found_before_any_work(tool, tmp_path, capsys):
    for arguments in (['similarity', 'no.pth'], ['probe', 'no.safetensors']):
        with pytest.raises(SystemExit):
            tool('analyze.py').main([*arguments, '--out', str(tmp_path)])
        assert 'is a folder; name a file' in capsys.readouterr().err
