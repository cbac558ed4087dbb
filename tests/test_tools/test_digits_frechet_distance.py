"""The Fréchet distance of the digits against closed forms, and the whole command on a tiny run."""

import json

import numpy as np
import pytest
from scipy.linalg import sqrtm


@pytest.fixture
def frechet(tool):
    tool('benchmarks/digits_class_agreement.py')
    return tool('benchmarks/digits_frechet_distance.py')


def test_distance_is_that_of_the_definition(frechet, rng):
    rows = rng(0).normal(size=(300, 5)) @ rng(1).normal(size=(5, 5))
    other = rng(2).normal(size=(200, 5)) + 0.5
    covs = [np.cov(x.T) for x in (rows, other)]
    shift = rows.mean(axis=0) - other.mean(axis=0)
    expected = shift @ shift + np.trace(covs[0] + covs[1] - 2 * sqrtm(covs[0] @ covs[1]).real)
    assert frechet.frechet_distance(rows, other) == pytest.approx(expected)


def test_distance_of_equal_sets_is_nothing_even_with_fewer_rows_than_dimensions(frechet, rng):
    rows = rng(0).normal(size=(10, 64))
    assert frechet.frechet_distance(rows, rows) == pytest.approx(0, abs=1e-4)
    assert frechet.frechet_distance(rows, rows + 1) == pytest.approx(64)


def test_features_are_gray_values_in_blocks(frechet):
    images = np.zeros((1, 16, 16, 3), dtype=np.uint8)
    images[0, :2, 2:4] = 255
    features = frechet.features(images)
    assert features.shape == (1, 64)
    assert features[0, 1] == 1 and features.sum() == 1


def test_every_checkpoint_of_a_run_is_measured(frechet, tool, repo_root, digits_folder, tmp_path):
    run = tmp_path / 'run'
    tool('train.py').main(
        [
            str(repo_root / 'configs/disp_stylegan2_digits.py'),
            *('--method', 'per_image', '--work-dir', str(run), '--cfg-options'),
            f'data_root={digits_folder}',
            'max_iters=2',
            'batch_size=4',
            'model.generator.channel_max=8',
            'model.generator.style_channels=8',
            'model.discriminator.discriminator.channel_max=8',
            'default_hooks.checkpoint.interval=1',
        ]
    )
    out = tmp_path / 'out.json'
    frechet.main([str(run), '--num', '20', '--out', str(out)])
    numbers = json.loads(out.read_text())
    assert list(numbers['frechet_distance']) == ['0', '1', '2']
    distances = list(numbers['frechet_distance'].values())
    assert len(set(distances)) == 3 and min(distances) > numbers['training_images'] > 0
    assert numbers['fell'] == pytest.approx(distances[0] / distances[2])


def test_a_folder_without_checkpoints_is_named(frechet, tmp_path, capsys):
    with pytest.raises(SystemExit):
        frechet.main([str(tmp_path)])
    assert 'holds no checkpoint' in capsys.readouterr().err
