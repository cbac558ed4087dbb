"""A work folder holds one run: a second one continues it, replaces it, or is refused."""

import pytest
from mmengine.config import Config

from disp_plugin.cli.work_folder import check_work_folder, remove_run, was_restarted


def check(folder, overwrite=False, **fields):
    check_work_folder(Config(dict(work_dir=str(folder), **fields)), overwrite)


@pytest.mark.parametrize(
    'name', ['iter_2.pth', 'epoch_1.pth', 'best_kid9_val_x_iter_2.pth', 'last_checkpoint']
)
def test_a_second_run_in_a_folder_is_refused_with_the_ways_out(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match='holds a run already') as refused:
        check(tmp_path)
    told = str(refused.value)
    assert all(word in told for word in (name, '--resume', '--overwrite', '--work-dir'))
    check(tmp_path, resume=True)
    check(tmp_path, overwrite=True)


def test_a_run_that_saved_nothing_and_files_of_others_are_no_conflict(tmp_path):
    check(tmp_path / 'new')
    check(tmp_path / 'new', resume=True)
    (tmp_path / '20260101_000000/vis_data').mkdir(parents=True)
    for name in ('config.py', 'metric_cards.json', 'encoder.pth', 'my_iter_3.pth'):
        (tmp_path / name).touch()
    check(tmp_path)


def test_resuming_from_elsewhere_does_not_mix_two_runs(tmp_path):
    here, there = tmp_path / 'here', tmp_path / 'there/iter_1.pth'
    here.mkdir()
    check(here, resume=True, load_from=str(there))
    (here / 'iter_2.pth').touch()
    check(here, resume=True, load_from=str(here / 'iter_2.pth'))
    check(here, overwrite=True, resume=True, load_from=str(there))
    for fields in (
        dict(resume=True, load_from=str(there)),
        dict(load_from=str(here / 'iter_2.pth')),
    ):
        with pytest.raises(ValueError, match='holds a run already'):
            check(here, **fields)


def test_what_is_to_be_continued_is_not_removed(tmp_path):
    for fields in (dict(resume=True), dict(resume=True, load_from=str(tmp_path / 'iter_2.pth'))):
        with pytest.raises(ValueError, match='--overwrite would remove the run in'):
            check(tmp_path, overwrite=True, **fields)
    weights = str(tmp_path / 'iter_2.pth')
    check(tmp_path, overwrite=True, load_from=weights)
    (tmp_path / 'iter_2.pth').touch()
    for fields in (dict(load_from=weights), dict(model=dict(parts=[dict(checkpoint=weights)]))):
        with pytest.raises(ValueError, match='iter_2.pth, which the config reads'):
            check(tmp_path, overwrite=True, **fields)


def test_only_files_of_the_run_are_removed(tmp_path):
    own = ['iter_2.pth', 'best_x_iter_2.pth', 'last_checkpoint', 'metric_cards.json']
    others = ['encoder.pth', 'notes.txt', 'report.html', 'samples/000000.png', '2026/a', 'c.py']
    sessions = ['20260101_000000/vis_data/scalars.json', '20260102_000000/20260102_000000.log']
    for name in (*own, *others, *sessions):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    remove_run(tmp_path, keep='20260102_000000')
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob('*') if p.is_file()}
    assert left == {*others, sessions[1]}


def test_a_requeued_job_does_not_remove_what_its_first_start_made():
    assert not was_restarted({}) and not was_restarted({'TORCHELASTIC_RESTART_COUNT': '0'})
    assert was_restarted({'SLURM_RESTART_COUNT': '1'})
