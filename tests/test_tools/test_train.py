"""tools/train.py: from a command to checkpoints, and each user's error in the user's words."""

import os
import shlex
import shutil
import signal

import pytest
import torch
from mmengine.runner import Runner

from disp_plugin.applications.load_gan import read_checkpoint
from disp_plugin.evaluation.metric_card import read_start


def weights(checkpoint):
    return torch.load(checkpoint, map_location='cpu', weights_only=True)['state_dict']


def refused(train, arguments, capsys):
    """Run, expect exit status 2, and give what was said."""
    with pytest.raises(SystemExit) as stop:
        train.main(arguments)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert 'error: ' in said and 'Traceback' not in said
    return said


def test_one_command_builds_the_bank_and_trains(trained, small_run):
    assert small_run.bank_file.is_file()
    assert {path.name for path in trained.glob('*.pth')} == {'iter_2.pth', 'iter_4.pth'}
    changed = weights(trained / 'iter_2.pth'), weights(trained / 'iter_4.pth')
    name = 'generator.output_layer.conv.weight_orig'
    assert not torch.equal(changed[0][name], changed[1][name])


def test_a_run_resumed_from_a_checkpoint_ends_with_the_same_weights(train, trained, small_run):
    work_dir = small_run.folder / 'resumed'
    flags = ['--resume-from', str(trained / 'iter_2.pth')]
    train.main(small_run.arguments(work_dir, flags=flags))
    ours, theirs = weights(work_dir / 'iter_4.pth'), weights(trained / 'iter_4.pth')
    assert set(ours) == set(theirs)
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    starts = {
        read_start(read_checkpoint(folder / f'iter_{iteration}.pth'))
        for folder, iteration in ((trained, 2), (trained, 4), (work_dir, 4))
    }
    assert starts == {min(trained.glob('*/vis_data')).parent.name}


def test_resume_takes_the_newest_checkpoint_of_the_work_folder(train, trained, small_run, capsys):
    train.main(small_run.arguments(trained, flags=['--resume']))
    assert 'iter_4.pth' in capsys.readouterr().out


def test_a_second_run_in_a_folder_is_refused_or_replaces_the_first(
    train, small_run, tmp_path, monkeypatch, capsys
):
    for name in ('iter_9.pth', 'best_kid9_val_x_iter_9.pth', 'notes.txt'):
        (tmp_path / name).touch()
    (tmp_path / '20200101_000000').mkdir()
    for flags in ([], ['--dry-run'], ['--resume-from', str(small_run.bank_file)]):
        said = refused(train, small_run.arguments(tmp_path, flags=flags), capsys)
        assert 'holds a run already (best_kid9_val_x_iter_9.pth, iter_9.pth)' in said
    assert (tmp_path / 'iter_9.pth').is_file()
    monkeypatch.setattr(Runner, 'train', lambda self: None)
    train.main(small_run.arguments(tmp_path, flags=['--overwrite']))
    left = sorted(path.name for path in tmp_path.iterdir() if path.suffix != '.py')
    assert len(left) == 2 and left[1] == 'notes.txt' and left[0] > '2026'
    for flags in ([], ['--resume']):  # which saved nothing, and can be started again
        train.main(small_run.arguments(tmp_path, flags=flags))


def test_a_moved_work_folder_goes_on_to_the_same_weights(train, trained, small_run, capsys):
    moved = shutil.copytree(trained, small_run.folder / 'moved')
    (moved / 'iter_4.pth').unlink()
    (moved / 'last_checkpoint').write_text('/gone/iter_2.pth')
    arguments = small_run.arguments(moved, 'train_dataloader.num_workers=1', flags=['--resume'])
    train.main(arguments)
    said = capsys.readouterr().out
    assert 'which is possible: ' in said and 'train_dataloader.num_workers: 0 -> 1' in said
    ours, theirs = weights(moved / 'iter_4.pth'), weights(trained / 'iter_4.pth')
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_a_damaged_checkpoint_and_a_changed_config_are_refused(train, trained, small_run, capsys):
    folder = shutil.copytree(trained, small_run.folder / 'damaged')
    said = refused(train, small_run.arguments(folder, 'prior_norm=l2', flags=['--resume']), capsys)
    assert 'made with another config: model.prior_norm: centered_l2 -> l2.' in said
    newest = folder / 'iter_4.pth'
    newest.write_bytes(newest.read_bytes()[:200_000])
    said = refused(train, small_run.arguments(folder, flags=['--resume']), capsys)
    assert f'{newest} was cut short' in said and f'--resume-from {folder / "iter_2.pth"}' in said


def test_a_dry_run_says_what_would_be_done_and_does_nothing(train, small_run, tmp_path, capsys):
    flags = ['--dry-run', '--seed', '7', '--precision', 'bfloat16']
    train.main(small_run.arguments(tmp_path / 'run', flags=flags))
    said = capsys.readouterr().out
    assert 'precision:     bfloat16, as asked for' in said
    assert 'DISPBigGAN, prior_dim=128' in said
    assert 'batch_size:    4' in said and 'max_iters:     4' in said
    assert not (tmp_path / 'run').exists()


def test_a_mistyped_config_name_option_and_type_are_named(train, small_run, tmp_path, capsys):
    arguments = small_run.arguments(tmp_path / 'run')
    said = refused(train, [arguments[0].replace('digits', 'digit'), *arguments[1:]], capsys)
    assert 'did you mean' in said and 'disp_biggan_digits.py' in said
    said = refused(train, small_run.arguments(tmp_path / 'run', 'modle.prior_norm=l2'), capsys)
    assert 'modle; did you mean model?' in said
    said = refused(train, small_run.arguments(tmp_path / 'a', 'model.type=DISPBigGANN'), capsys)
    assert "model.type of disp_biggan_digits.py is 'DISPBigGANN'" in said
    assert "did you mean 'DISPBigGAN'?" in said


def test_one_image_and_an_empty_folder_are_refused(
    train, small_run, tmp_path, make_image_folder, capsys
):
    for num, words in ((1, 'holds 1 training image'), (0, 'one')):
        folder = tmp_path / f'one{num}'
        folder.mkdir()
        make_image_folder(folder, num=num)
        options = [f'data_root={folder}', 'ann_file=']
        assert words in refused(train, small_run.arguments(tmp_path / 'r', *options), capsys)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['image_size=96', 'model.generator.arch_cfg=None'], 'set image_size to one of 32, 64'),
        (['image_size=-1'], 'image_size of disp_biggan_digits.py must be a number from 1'),
        (['batch_size=0'], 'batch_size of disp_biggan_digits.py must be a number from 1'),
        (['model.loss=hingee'], "loss is 'hingee'; it must be one of"),
    ],
)
def test_what_can_be_refused_is_refused_before_an_image_is_encoded(
    train, small_run, tmp_path, capsys, options, words
):
    bank_file = tmp_path / 'none.safetensors'
    options = [f'bank_file={bank_file}', *options]
    if 'arch_cfg' in options[-1]:
        options.append('model.discriminator.discriminator.arch_cfg=None')
    assert words in refused(train, small_run.arguments(tmp_path / 'run', *options), capsys)
    assert not bank_file.exists() and not (tmp_path / 'run').exists()


def test_a_missing_bank_can_be_refused(train, small_run, tmp_path, capsys):
    options = [f'bank_file={tmp_path / "none.safetensors"}']
    arguments = small_run.arguments(tmp_path / 'run', *options, flags=['--no-build-bank'])
    assert 'build it with tools/build_prior_bank.py' in refused(train, arguments, capsys)


def test_the_wrong_prior_dim_is_named_with_the_banks(train, trained, small_run, tmp_path, capsys):
    said = refused(train, small_run.arguments(tmp_path / 'run', 'prior_dim=7'), capsys)
    assert 'prior_dim is 7 but the bank' in said and '128-d' in said


def test_another_encoder_than_the_banks_is_refused(train, trained, small_run, tmp_path, capsys):
    said = refused(train, small_run.arguments(tmp_path / 'run', 'encoder.seed=1'), capsys)
    assert str(small_run.bank_file) in said and 'encoder' in said


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_float16_without_a_gpu_is_refused_before_any_work(train, small_run, tmp_path, capsys):
    arguments = small_run.arguments(tmp_path / 'run', flags=['--precision', 'float16'])
    said = refused(train, arguments, capsys)
    assert "precision is 'float16', which is for GPUs" in said and "choose 'auto'" in said
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('flags', [(), ('--resume',)])
def test_a_signal_says_by_which_command_to_go_on(
    train, trained, small_run, tmp_path, monkeypatch, capsys, flags
):
    def stop(self):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Runner, 'train', stop)
    arguments = small_run.arguments(tmp_path / 'a run')
    with pytest.raises(SystemExit) as error:
        train.main([*arguments, *flags])
    assert error.value.code == 143
    said = capsys.readouterr().err
    assert said.startswith('\nstopped by SIGTERM. Go on with: python ')
    assert shlex.split(said)[-len(arguments) - 1 :] == [*arguments, '--resume']


def test_a_run_that_diverges_ends_with_an_error_and_its_last_finite_snapshot(
    train, trained, small_run, tmp_path, capsys
):
    options = ['optim_wrapper.generator.optimizer.lr=1e30']
    said = refused(train, small_run.arguments(tmp_path / 'run', *options), capsys)
    kept = tmp_path / 'run' / 'iter_2.pth'
    assert 'training stopped at iteration 4: generator' in said
    assert f'the last finite snapshot is {kept}' in said
    assert [*(tmp_path / 'run').glob('*.pth')] == [kept]


def test_every_tool_refuses_weights_that_are_not_finite(
    tool, trained, small_run, tmp_path, digits_folder, capsys
):
    content = torch.load(trained / 'iter_4.pth', weights_only=True)
    name = 'generator_ema.module.output_layer.conv.weight_orig'
    content['state_dict'][name].view(-1)[0] = float('nan')
    bad = str(tmp_path / 'iter_4.pth')
    torch.save(content, bad)
    out = ['--out', str(tmp_path / 'out')]
    config, *options = small_run.arguments(tmp_path / 'run')
    images = [str(path) for path in sorted(digits_folder.rglob('*.png'))[:2]]
    for script, arguments in {
        'sample.py': [bad, *out],
        'interpolate.py': [bad, *out],
        'edit.py': [bad, images[0], *out],
        'invert.py': [bad, *images, *out],
        'evaluate.py': [bad, '--held-out', str(digits_folder), *out],
        'report.py': [str(trained), '--checkpoint', bad, *out],
        'fit_sampler.py': [bad, '--sampler', 'type=EmpiricalPriorSampler', *out],
        'test.py': [config, bad, *options],
        'train.py': [config, '--dry-run', '--resume-from', bad, *options],
    }.items():
        said = refused(tool(script), arguments, capsys)
        assert f'{bad} cannot be used: generator_ema is not finite' in said, (script, said)


def test_a_size_that_the_networks_do_not_make_is_refused_before_the_bank_is_built(
    train, small_run, tmp_path, repo_root, capsys
):
    bank_file = tmp_path / 'bank.safetensors'
    _, *arguments = small_run.arguments(tmp_path / 'run', f'bank_file={bank_file}', 'image_size=32')
    said = refused(train, [str(repo_root / 'configs' / 'disp_sngan_digits.py'), *arguments], capsys)
    assert 'the generator makes images of 16 x 16 px, but model.image_size is 32 x 32' in said
    assert 'set image_size=16' in said
    assert not bank_file.exists() and not (tmp_path / 'run').exists()


def test_a_share_of_the_bad_inputs_is_told_in_one_line_each(tool):
    assert tool('benchmarks/bad_input.py').main(['--num', '12', '--seed', '3']) == []
