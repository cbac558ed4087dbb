"""tools/corruption_ablation.py: encoders of corrupted labels, and a table of what they know."""

import json

import pytest

from disp_plugin.encoders import CheckpointEncoder

NETWORK = json.dumps(dict(channels=[8, 8, 8, 8], stem_width=8))


def run(tool, digits_folder, out, *options):
    tool('corruption_ablation.py').main(
        [
            *(str(digits_folder), '--ann-file', 'train.txt', '--out', str(out)),
            *('--arch', 'timm/resnet10t', '--arch-kwargs', NETWORK),
            *('--size', '16', '--no-flip', '--epochs', '1', '--batch-size', '50', *options),
        ]
    )


def test_a_row_for_each_percentage_and_one_untrained(tool, digits_folder, tmp_path, capsys):
    out = tmp_path / 'ablation'
    run(tool, digits_folder, out, '--percents', '100', '0')
    table = capsys.readouterr().out
    assert 'probe of training images' in table and 'held-out' not in table
    rows = json.loads((out / 'ablation.json').read_text())['rows']
    assert [row['labels_permuted'] for row in rows] == ['0 %', '100 %', 'untrained']
    for row in rows:
        assert row['num_images'] == 100 and row['num_classes'] == 5 and row['majority'] == 0.2
        assert f'{row["accuracy"]:.3f} ± {row["standard_deviation"]:.3f}' in table
    assert rows[2]['given_label'] is None and rows[0]['given_label'] != rows[1]['given_label']
    prints = {
        CheckpointEncoder(checkpoint=str(out / f'corrupted_{percent}.pth')).fingerprint()
        for percent in ('000', '100')
    }
    assert len(prints) == 2
    stamp = (out / 'corrupted_000.pth').stat().st_mtime_ns
    run(tool, digits_folder, out, '--percents', '0', '--probe-ann-file', 'train.txt')
    assert '  probe of train.txt  ' in capsys.readouterr().out
    assert (out / 'corrupted_000.pth').stat().st_mtime_ns == stamp  # not trained anew
    assert json.loads((out / 'ablation.json').read_text())['rows'] == [rows[0], rows[2]]


def test_percentages_out_of_range_are_refused(tool, digits_folder, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        run(tool, digits_folder, tmp_path / 'out', '--percents', '0', '150')
    assert stop.value.code == 2
    assert 'from 0 to 100, but 150 is not' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_there_is_no_temperature_where_nothing_has_one(tool, digits_folder, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(tool, digits_folder, tmp_path / 'out', '--temperature', '0.1')
    assert 'unrecognized arguments: --temperature' in capsys.readouterr().err
