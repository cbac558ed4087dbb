"""tools/evaluate.py: a checkpoint or a folder, in one process or two; and metrics in training."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from disp_plugin.evaluation.metric_card import Protocol, Snapshot, Space, read_cards

NEIGHBORS = 'precision_recall=dict(precision_neighbors=[3], recall_neighbors=[3])'


@pytest.fixture
def evaluate(tool):
    return tool('evaluate.py')


@pytest.fixture
def checkpoint(trained):
    return trained / 'iter_4.pth'


def by_name(file):
    return {card.name: card for card in read_cards(file)}


def test_a_checkpoint_is_measured_by_the_images_that_its_config_reports_on(
    evaluate, checkpoint, tmp_path, capsys
):
    out = tmp_path / 'cards.json'
    options = ['--num-images', '40', '--options', NEIGHBORS, '--cache-dir', str(tmp_path / 'cache')]
    arguments = [str(checkpoint), '--out', str(out), *options]
    evaluate.main(arguments)
    cards = by_name(out)
    wanted = {'fid40', 'kid40', 'precision40_k3', 'recall40_k3', 'density40', 'coverage40'}
    wanted |= {'copying40', 'fid_floor40', 'kid_floor40'}
    names = {f'{name}_report_{space}' for name in wanted for space in ('pixels', 'prior')}
    assert set(cards) == names | {'disc_gap_report', 'disc_gap_in_sd_report'}
    card = cards['kid40_report_pixels']
    assert card.protocol.reference.num == 596 and card.protocol.reference.split == 'report'
    start = min(checkpoint.parent.glob('*/vis_data')).parent.name
    assert card.snapshot == Snapshot(4, 'iter_4.pth', 'trained', start)
    assert card.protocol.sample_model == 'ema'
    printed = capsys.readouterr().out
    assert 'the number to look at first: kid40_report_pixels' in printed
    evaluate.main([*arguments, '--metrics', 'fid', '--space', 'pixels=', '--seed', '1'])
    assert len(read_cards(out)) == len(cards) + 1


def test_training_images_as_reference_are_measured_and_judge_nothing(
    evaluate, checkpoint, tmp_path, capsys
):
    out = tmp_path / 'cards.json'
    arguments = [str(checkpoint), '--reference', 'train', '--space', 'pixels=', '--out', str(out)]
    assert evaluate.parse_args(arguments).metrics == ['fid', 'kid']
    evaluate.main([*arguments, '--num-images', '40', '--cache-dir', str(tmp_path / 'cache')])
    cards = by_name(out)
    assert set(cards) == {'fid40_train_pixels', 'kid40_train_pixels'}
    reference = cards['fid40_train_pixels'].protocol.reference
    assert reference.num == 100 and not reference.flips
    assert 'the number to look at first' not in capsys.readouterr().out
    assert Protocol('fid', 'train', 5000, space=Space('clean')).name == 'fid5k_train_clean'


@pytest.mark.parametrize('name', ['evaluate.py', 'test.py'])
def test_a_best_snapshot_is_not_measured_on_what_chose_it(
    name, tool, small_run, checkpoint, tmp_path, capsys
):
    best = tmp_path / 'best_kid40_val_pixels_iter_4.pth'
    shutil.copy(checkpoint, best)  # its config validates on val.txt
    if name == 'evaluate.py':
        arguments = [str(best), '--held-out', 'val.txt']
    else:
        config, *options = small_run.arguments(
            tmp_path / 'tested', 'test_dataloader.dataset.ann_file=val.txt'
        )
        arguments = [config, str(best), *options]
    with pytest.raises(SystemExit) as stop:
        tool(name).main(arguments)
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert f'are the images that chose {best.name}' in said and 'iter_N.pth' in said


@pytest.mark.slow
def test_two_processes_measure_what_one_does(repo_root, evaluate, checkpoint, tmp_path):
    options = ['--num-images', '41', '--space', 'pixels=', '--batch-size', '16']
    options += ['--metrics', 'fid', 'kid', '--cache-dir', str(tmp_path)]
    evaluate.main([str(checkpoint), '--out', str(tmp_path / 'one.json'), *options])
    launch = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', '2']
    script = [str(repo_root / 'tools' / 'evaluate.py'), str(checkpoint), '--launcher', 'pytorch']
    port = ['--master_port', str(29600 + os.getpid() % 1000)]
    subprocess.run(
        [*launch, *port, *script, '--out', str(tmp_path / 'two.json'), *options],
        check=True,
        capture_output=True,
        timeout=300,
    )
    one, two = (by_name(tmp_path / f'{name}.json') for name in ('one', 'two'))
    assert set(one) == set(two) == {'fid41_report_pixels', 'kid41_report_pixels'}
    for name, card in one.items():
        assert two[name].value == pytest.approx(card.value, rel=1e-4)


def write_images(folder, images):
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f'{index:03d}.png')
    return str(folder)


def test_folders_are_compared_and_copies_are_seen(evaluate, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (120, 8, 8, 3), dtype=np.uint8)
    train = write_images(tmp_path / 'train', images[:40])
    unseen = write_images(tmp_path / 'unseen', images[40:80])
    fresh = write_images(tmp_path / 'fresh', images[80:])
    copies = write_images(tmp_path / 'copies', images[:40] ^ 1)
    out = tmp_path / 'cards.json'
    shared = ['--held-out', unseen, '--train', train, '--space', 'pixels=', '--out', str(out)]
    shared += ['--cache-dir', str(tmp_path / 'cache'), '--options', NEIGHBORS]
    values = {}
    for folder in (fresh, copies):
        evaluate.main(['--images', folder, *shared])
        cards = [card for card in read_cards(out) if card.snapshot.file == folder]
        values[folder] = {card.name: card.value for card in cards}
    assert abs(values[fresh]['copying40_unseen_pixels']) < 3
    assert values[copies]['copying40_unseen_pixels'] < -5
    evaluate.main(['--images', unseen, *shared, '--metrics', 'fid', '--split', 'itself'])
    assert by_name(out)['fid40_itself_pixels'].value == pytest.approx(0, abs=1e-6)


def test_samples_are_measured_as_they_are_and_never_a_sheet(evaluate, use, tmp_path, capsys):
    samples = use('sample.py', '--num', 6)
    arguments = ['--images', str(samples), '--held-out', str(samples), '--space', 'pixels=']
    arguments += ['--cache-dir', str(tmp_path / 'cache'), '--out', str(tmp_path / 'c.json')]
    arguments += ['--size', '8', '--metrics', 'kid']
    evaluate.main(arguments)
    assert set(by_name(tmp_path / 'c.json')) == {'kid6_out_pixels'}
    grid = samples / 'all.png'
    samples.with_name('out_grid.png').rename(grid)
    for by_name_only in (False, True):
        with pytest.raises(SystemExit):
            evaluate.main(arguments)
        assert f'{grid} is a sheet of samples' in capsys.readouterr().err
        if not by_name_only:  # a grid of mmagic's
            (samples / 'vis_data/vis_image').mkdir(parents=True)
            grid.unlink()
            grid = samples / 'vis_data/vis_image/fake_img_000000.png'
            Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(grid)


def test_manifests_stand_for_folders(evaluate, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (18, 8, 8, 3), dtype=np.uint8)
    write_images(tmp_path / 'all', images)
    places = {}
    for number, name in enumerate(('images', 'held-out', 'train')):
        places[name] = tmp_path / f'{name}.txt'
        lines = [f'all\\{i:03d}.png' for i in range(6 * number, 6 * number + 6)]
        places[name].write_text('\r\n'.join(lines))
    arguments = [text for name, file in places.items() for text in (f'--{name}', str(file))]
    arguments += ['--space', 'pixels=', '--metrics', 'fid', 'floor', '--out', f'{tmp_path}/c.json']
    evaluate.main([*arguments, '--cache-dir', str(tmp_path / 'cache')])
    cards = by_name(tmp_path / 'c.json')
    assert set(cards) == {f'{m}6_held-out_pixels' for m in ('fid', 'fid_floor', 'kid_floor')}
    assert cards['fid_floor6_held-out_pixels'].protocol.train.num == 6


def test_folders_of_different_sizes_need_one(evaluate, tmp_path, capsys):
    images = np.zeros((3, 8, 8, 3), dtype=np.uint8)
    folder = write_images(tmp_path / 'a', images)
    Image.fromarray(np.zeros((9, 8, 3), dtype=np.uint8)).save(tmp_path / 'a' / 'odd.png')
    arguments = ['--images', folder, '--held-out', folder, '--space', 'pixels=']
    arguments += ['--cache-dir', str(tmp_path / 'cache'), '--out', str(tmp_path / 'c.json')]
    with pytest.raises(SystemExit):
        evaluate.main(arguments)
    said = capsys.readouterr().err
    assert 'odd.png 8x9' in said and 'give --size N' in said
    evaluate.main([*arguments, '--size', '8', '--metrics', 'fid'])
    assert (tmp_path / 'c.json').is_file()


def test_missing_weights_say_what_to_fetch(evaluate, checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    with pytest.raises(SystemExit):
        evaluate.main([str(checkpoint), '--space', 'clean='])
    assert 'weights-inception-2015-12-05-6726825d.pth' in capsys.readouterr().err


@pytest.mark.parametrize(
    'arguments',
    [
        [],
        ['a.pth', '--images', 'b'],
        ['--images', 'b'],
        ['a.pth', '--batch-size', '0'],
        ['a.pth', '--num-images', '1'],
        ['a.pth', '--truncation', '-1'],
        ['a.pth', '--size', '8'],
        ['a.pth', '--reference', 'train', '--held-out', 'b'],
        ['a.pth', '--reference', 'train', '--metrics', 'copying'],
        ['--images', 'a', '--held-out', 'b', '--metrics', 'disc_gap'],
        ['--images', 'a', '--held-out', 'b', '--metrics', 'copying'],
    ],
)
def test_contradictions_are_refused(evaluate, arguments):
    with pytest.raises(SystemExit):
        evaluate.parse_args(arguments)


def test_a_run_measures_itself_by_held_out_images(train, small_run, tmp_path, capsys):
    work_dir = tmp_path / 'measured'
    flags = ['--held-out', 'val.txt', '--space', 'pixels=', '--val-interval', '2']
    options = ['val_evaluator.fake_nums=40', f'val_evaluator.cache_dir={tmp_path}']
    train.main(small_run.arguments(work_dir, *options, flags=[*flags, '--patience', '5']))
    assert 'the best snapshot is chosen by kid40_val_pixels' in capsys.readouterr().out
    cards = [c for c in read_cards(work_dir / 'metric_cards.json') if c.protocol.metric == 'kid']
    assert [card.snapshot.iteration for card in cards] == [2, 4]
    (start,) = {card.snapshot.start for card in cards}
    assert (work_dir / start / 'vis_data').is_dir()
    best = min(cards, key=lambda card: card.value).snapshot.iteration
    assert [p.name for p in work_dir.glob('best_*.pth')] == [
        f'best_kid40_val_pixels_iter_{best}.pth'
    ]


def test_a_test_by_the_runner_knows_its_snapshot(tool, small_run, checkpoint, tmp_path):
    options = ['test_evaluator.fake_nums=30', f'test_evaluator.cache_dir={tmp_path}']
    config, *arguments = small_run.arguments(tmp_path / 'tested', *options)
    tool('test.py').main([config, str(checkpoint), *arguments])
    snapshots = [card.snapshot for card in read_cards(tmp_path / 'tested/metric_cards.json')]
    start = min(checkpoint.parent.glob('*/vis_data')).parent.name
    expected = Snapshot(4, 'iter_4.pth', 'tested', start)
    assert snapshots and all(snapshot == expected for snapshot in snapshots)


def test_a_run_by_damaged_held_out_images_does_not_start(train, small_run, tmp_path, capsys):
    folder = tmp_path / 'unseen'
    write_images(folder, np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8))
    (folder / 'zzz.png').write_bytes(b'no image')
    flags = ['--held-out', str(folder), '--space', 'pixels=', '--val-interval', '4']
    with pytest.raises(SystemExit):
        train.main(small_run.arguments(tmp_path / 'work', flags=flags))
    assert 'zzz.png' in capsys.readouterr().err
    assert not list((tmp_path / 'work').glob('*.pth'))


def test_options_of_validation_need_held_out_images(train, small_run, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train.main(small_run.arguments(tmp_path / 'x', flags=['--patience', '5']))
    assert '--patience needs --held-out' in capsys.readouterr().err
