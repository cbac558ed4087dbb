"""One series for each scalar, whatever stopped, resumed or damaged the run."""

import json

from disp_plugin.evaluation.run import read_log


def write_session(work_dir, start, records, damage=b''):
    folder = work_dir / start / 'vis_data'
    folder.mkdir(parents=True)
    lines = b''.join(json.dumps(record).encode() + b'\n' for record in records)
    (folder / 'scalars.json').write_bytes(lines + damage)


def step(iteration, loss):
    return {'loss': loss, 'iter': iteration, 'step': iteration}


def test_a_resumed_run_replaces_what_it_did_again(tmp_path):
    first = [step(10, 1.0), step(20, 2.0), {'fid9_val_x': 5.0, 'step': 20}, step(30, 3.0)]
    write_session(tmp_path, '20260101_000000', [*first, {'fid9_val_x': 9.0, 'step': 40}])
    write_session(tmp_path, '20260102_000000', [step(25, 7.0), step(30, 8.0)])
    log = read_log(tmp_path)
    assert log.series['loss'] == [(10, 1.0), (20, 2.0), (25, 7.0), (30, 8.0)]
    assert log.series['fid9_val_x'] == [(20, 5.0)]
    assert log.problems == []


def test_a_run_begun_anew_in_the_same_folder_replaces_the_old_one(tmp_path):
    write_session(tmp_path, '20260101_000000', [step(10, 1.0), step(20, 2.0)])
    write_session(tmp_path, '20260102_000000', [step(10, 5.0)])
    assert read_log(tmp_path).series == {'loss': [(10, 5.0)]}


def test_a_validation_alone_does_not_replace_the_training(tmp_path):
    write_session(tmp_path, '20260101_000000', [step(10, 1.0)])
    write_session(tmp_path, '20260102_000000', [{'fid9_val_x': 5.0, 'step': 0}])
    assert read_log(tmp_path).series == {'loss': [(10, 1.0)]}


def test_damaged_lines_and_values_are_left_out_and_said(tmp_path):
    records = [step(10, 1.0), step(20, float('nan')), [1], {'loss': 2.0}, step(30, 'x')]
    write_session(tmp_path, '20260101_000000', records, damage=b'{"loss": 1.0, "it\xff')
    log = read_log(tmp_path)
    assert log.series == {'loss': [(10, 1.0)]}
    lines, values = sorted(log.problems, key=lambda text: 'values' in text)
    assert lines.startswith('3 lines of the log 20260101_000000/vis_data/scalars.json are damaged')
    assert values.startswith('2 logged values')


def test_no_log_gives_no_series(tmp_path):
    (tmp_path / '20260101_000000' / 'vis_data').mkdir(parents=True)
    assert read_log(tmp_path) == ({}, [])
