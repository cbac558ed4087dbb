"""A run goes on from a whole checkpoint of a config that fits, or says what is wrong."""

import copy

import pytest
import torch
from mmengine.config import Config

from disp_plugin.cli.resume import check_resume, set_resume

CONFIG = dict(
    model=dict(
        type='DISPSNGAN',
        prior_dim=8,
        generator=dict(base_channels=4),
        sampler=dict(type='VicinalMixSampler', num_neighbors=5),
    ),
    encoder=dict(type='CheckpointEncoder', checkpoint='a.pth', in_size=16),
    train_dataloader=dict(
        batch_size=4, num_workers=0, dataset=dict(data_root='here', image_size=16, flip=True)
    ),
    optim_wrapper=dict(generator=dict(optimizer=dict(type='Adam', lr=0.1, betas=(0.0, 0.9)))),
    train_cfg=dict(type='ResumableTrainLoop', max_iters=8),
    default_hooks=dict(checkpoint=dict(interval=4)),
    randomness=dict(seed=0),
)


@pytest.fixture
def run(tmp_path):
    """A folder with iter_4.pth and iter_8.pth, and a function: options -> the run's config."""

    def config(**options):
        cfg = Config(copy.deepcopy(CONFIG))
        cfg.merge_from_dict({'work_dir': str(tmp_path), **options})
        return cfg

    for iteration in (4, 8):
        meta = {'iter': iteration, 'cfg': config().pretty_text}
        content = {'state_dict': {'a': torch.ones(500)}, 'meta': meta, 'optimizer': {}}
        torch.save(content, tmp_path / f'iter_{iteration}.pth')
    (tmp_path / 'last_checkpoint').write_text('/moved/from/iter_8.pth')
    return config


def resume(cfg, checkpoint=None):
    set_resume(cfg, checkpoint is None, checkpoint)
    check_resume(cfg)


def test_the_newest_checkpoint_of_a_moved_folder_is_taken(run, tmp_path, capsys):
    cfg = run()
    resume(cfg)
    assert cfg.resume is True and cfg.load_from == str(tmp_path / 'iter_8.pth')
    assert capsys.readouterr().out == ''


def cut(file):
    file.write_bytes(file.read_bytes()[:1000])


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (cut, 'iter_8.pth was cut short'),
        (lambda file: file.write_bytes(b''), 'iter_8.pth is empty'),
        (lambda file: file.unlink(), 'last_checkpoint names .*iter_8.pth, which does not exist'),
    ],
)
def test_a_damaged_newest_checkpoint_is_named_with_the_newest_whole_one(
    run, tmp_path, damage, message
):
    damage(tmp_path / 'iter_8.pth')
    torch.save({'a': 1}, tmp_path / 'iter_6.pth')  # no checkpoint of a run
    with pytest.raises((ValueError, FileNotFoundError), match=message) as refused:
        resume(run())
    good = tmp_path / 'iter_4.pth'
    assert f'that is whole is {good}' in str(refused.value)
    assert f'by --resume-from {good}' in str(refused.value)
    resume(run(), str(good))


def test_a_checkpoint_that_was_saved_before_it_could_be_named_is_taken(run, tmp_path):
    (tmp_path / 'last_checkpoint').write_text('iter_2.pth')
    for text in ('iter_2.pth', ''):
        (tmp_path / 'last_checkpoint').write_text(text)
        cfg = run()
        resume(cfg)
        assert cfg.load_from == str(tmp_path / 'iter_8.pth')


def test_where_nothing_is_saved_the_run_begins(run, tmp_path):
    cfg = run(work_dir=str(tmp_path / 'new'))
    resume(cfg)
    assert cfg.resume is True and cfg.get('load_from') is None
    cfg = run(work_dir=str(tmp_path / 'new'), load_from='weights.pth')
    resume(cfg)
    assert cfg.resume is False and cfg.load_from == 'weights.pth'


def test_a_cluster_that_gives_a_command_again_resumes_from_another_run_only_once(run, tmp_path):
    other, newest = str(tmp_path / 'iter_4.pth'), str(tmp_path / 'iter_8.pth')
    for folder, expected in ((tmp_path / 'new', other), (tmp_path, newest)):
        cfg = run(work_dir=str(folder))
        set_resume(cfg, True, other)
        assert cfg.resume is True and cfg.load_from == expected


@pytest.mark.parametrize(
    'changes',
    [
        {'model.generator.base_channels': 8},
        {'model.sampler.num_neighbors': None},
        {'model.prior_norm': 'l2'},
        {'encoder.in_size': 32},
        {'optim_wrapper.generator.optimizer.lr': 0.2},
        {'optim_wrapper.generator.optimizer.type': 'SGD'},
        {'optim_wrapper.generator.optimizer.betas': (0.5, 0.9)},
        {'train_dataloader.dataset.flip': False},
        {'train_dataloader.dataset.image_size': 32},
        {'randomness.seed': 1},
    ],
)
def test_what_cannot_change_is_refused_with_both_values(run, changes):
    ((name, new),) = changes.items()
    old = Config(CONFIG)
    for part in name.split('.'):
        old = old.get(part, 'not set')
    shown = 'not set' if new is None else list(new) if isinstance(new, tuple) else new
    old = list(old) if isinstance(old, tuple) else old
    with pytest.raises(ValueError, match='was made with another config') as refused:
        resume(run(**changes))
    assert f': {name}: {old} -> {shown}. This cannot change' in str(refused.value)


def test_what_may_change_is_told(run, tmp_path, capsys):
    changes = {
        'train_cfg.max_iters': 16,
        'default_hooks.checkpoint.interval': 2,
        'train_dataloader.num_workers': 2,
        'train_dataloader.batch_size': 8,
        'train_dataloader.dataset.data_root': 'there',
        'encoder.checkpoint': 'b.pth',
        'model.pretrained.checkpoint': 'c.pth',
    }
    resume(run(**changes))
    said = capsys.readouterr().out
    assert 'train_cfg.max_iters: 8 -> 16' in said and 'work_dir' not in said
    assert all(name in said for name in changes)


def test_precision_may_change_and_is_told(run, capsys):
    wrapper = dict(type='PrecisionOptimWrapper', precision='bfloat16', loss_scale=8.0)
    resume(run(**{f'optim_wrapper.generator.{name}': value for name, value in wrapper.items()}))
    said = capsys.readouterr().out
    assert 'optim_wrapper.generator.precision: not set -> bfloat16' in said


def test_weights_alone_are_no_run_to_go_on_with(run, tmp_path):
    torch.save({'state_dict': {}, 'meta': {'iter': 4}}, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match=r'no.* optimizers .*model\.pretrained\.checkpoint='):
        resume(run(), str(tmp_path / 'x.pth'))
    (tmp_path / 'x.pth').write_text('<html>')
    with pytest.raises(ValueError, match='is a web page'):
        resume(run(), str(tmp_path / 'x.pth'))
    with pytest.raises(FileNotFoundError, match=r'nothing\.pth to resume from'):
        resume(run(), str(tmp_path / 'nothing.pth'))
