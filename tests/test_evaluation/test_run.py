"""One series for each scalar, whatever stopped, resumed or damaged the run."""

import json
import os

import pytest
import torch

from disp_plugin.evaluation.metric_card import write_cards
from disp_plugin.evaluation.run import find_run, read_log
from tests.metric_cards import card


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


OLD, NEW = '20260101_000000', '20260102_000000'


def save(folder, name, iteration, start, cfg='a = 1'):
    info = {'experiment_name': f'run_{start}'}
    meta = {'iter': iteration, 'cfg': cfg}
    content = {'state_dict': {}, 'meta': meta, 'message_hub': {'runtime_info': info}}
    torch.save(content, folder / name)


@pytest.fixture
def mixed(tmp_path):
    """A folder where a run of 4 iterations was followed by one that has come to 2."""
    folder = tmp_path / 'mixed'
    folder.mkdir()
    save(folder, 'iter_4.pth', 4, OLD, 'a = 0')
    save(folder, 'best_kid9_val_x_iter_4.pth', 4, OLD, 'a = 0')
    save(folder, 'iter_2.pth', 2, NEW)
    (folder / 'last_checkpoint').write_text('/moved/iter_2.pth')
    write_session(folder, OLD, [step(1, 9.0), step(2, 9.0), step(3, 9.0)])
    write_session(folder, NEW, [step(2, 1.0)])
    cards = [card('kid9_val_x', 1.0, iteration=2, start=at) for at in (OLD, NEW, '')]
    write_cards(folder / 'metric_cards.json', cards)
    return folder


def test_of_two_runs_in_a_folder_the_newest_checkpoint_chooses(mixed):
    run = find_run(mixed)
    assert run.checkpoint == mixed / 'iter_2.pth' and run.cfg == {'a': 1} and run.best is None
    assert {found.snapshot.start for found in run.cards} == {'', NEW}
    assert read_log(mixed, run.start).series == {'loss': [(2, 1.0)]}
    told = '\n'.join(run.problems)
    assert 'best_kid9_val_x_iter_4.pth: of another run' in told
    assert '1 numbers of another run' in told
    save(mixed, 'best_kid9_val_x_iter_1.pth', 1, NEW)
    os.utime(mixed / 'best_kid9_val_x_iter_1.pth', (0, 0))  # a copy keeps no order
    run = find_run(mixed)
    assert run.checkpoint == mixed / 'best_kid9_val_x_iter_1.pth' and run.best == 1
    assert find_run(mixed, 'last').checkpoint == mixed / 'iter_2.pth'


def test_of_a_named_snapshot_of_the_older_run_nothing_of_the_newer_is_told(mixed):
    run = find_run(mixed, str(mixed / 'iter_4.pth'))
    assert run.cfg == {'a': 0} and run.cards == [] and run.best is None
    assert 'belongs to another run than the newest checkpoint' in run.elsewhere


def test_a_later_start_counts_only_if_it_resumed(mixed):
    for start, resume in (('20260103_000000', True), ('20260104_000000', False)):
        write_session(mixed, start, [step(3, 2.0 + (not resume))])
        (mixed / start / 'vis_data/config.py').write_text(f'a = 1\nresume = {resume}\n')
    assert read_log(mixed, NEW).series == {'loss': [(2, 1.0), (3, 2.0)]}


def test_a_damaged_best_snapshot_is_still_the_runs(mixed):
    (mixed / 'best_kid9_val_x_iter_1.pth').write_bytes(b'PK')
    run = find_run(mixed)
    assert run.checkpoint.name == 'best_kid9_val_x_iter_1.pth'
    assert any('cannot be read' in problem for problem in run.problems)
    assert run.elsewhere == '' and len(run.cards) == 2


def test_a_newest_checkpoint_that_is_gone_is_told(tmp_path):
    save(tmp_path, 'iter_4.pth', 4, '20260101_000000')
    (tmp_path / 'last_checkpoint').write_text('/moved/from/iter_8.pth')
    run = find_run(tmp_path)
    assert run.checkpoint == tmp_path / 'iter_4.pth'
    assert any('iter_8.pth, which does not exist' in problem for problem in run.problems)
