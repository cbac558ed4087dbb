"""Held-out images are found, unmirrored, and are no training images."""

import shutil
from pathlib import Path

import pytest
from mmengine.config import Config

from disp_plugin.evaluation.held_out import (
    add_validation,
    check_not_chosen_by,
    find_held_out,
    find_training_images,
    name_best,
)


@pytest.fixture
def run(make_image_folder, tmp_path):
    """A run on four of six images of a folder; the other two are in a manifest."""
    folder = make_image_folder(tmp_path / 'photos', num=6)
    names = sorted(path.name for path in folder.glob('*.png'))
    (folder / 'train.txt').write_text('\n'.join(names[:4]))
    (folder / 'unseen.txt').write_text('\n'.join(names[4:]))
    (folder / 'mixed.txt').write_text('\n'.join(names[3:]))
    dataset = dict(
        type='ImageFolderDataset',
        data_root=str(folder),
        ann_file='train.txt',
        image_size=16,
        flip=True,
        bank_file='bank.safetensors',
    )
    return dict(train_dataloader=dict(dataset=dataset))


def test_a_manifest_beside_the_training_images(run):
    run['train_dataloader']['dataset']['indices'] = 1  # a choice among the training images
    dataset, split = find_held_out(run, 'unseen.txt')
    assert split == 'unseen' and dataset['ann_file'] == 'unseen.txt'
    assert dataset['image_size'] == 16 and not dataset['flip']
    assert not {'bank_file', 'indices'} & set(dataset)


def test_a_folder(run, make_image_folder, tmp_path):
    folder = make_image_folder(tmp_path / 'others', num=2, seed=1)
    dataset, split = find_held_out(run, str(folder))
    assert (dataset['data_root'], dataset['ann_file'], split) == (str(folder), '', 'test')
    assert find_held_out(run, str(folder), 'mine')[1] == 'mine'


def test_a_manifest_elsewhere_starts_at_the_training_images_else_at_its_own_folder(
    run, make_image_folder, tmp_path
):
    root = run['train_dataloader']['dataset']['data_root']
    other = make_image_folder(tmp_path / 'others', num=2, seed=1)
    (other / 'deep').mkdir()
    (other / 'image_0001.png').rename(other / 'deep' / 'new.png')
    (other / 'own.txt').write_text('deep\\new.png\r\n')
    dataset, split = find_held_out(run, str(other / 'own.txt'))
    assert (dataset['data_root'], dataset['ann_file'], split) == (str(other), 'own.txt', 'own')
    (other / 'theirs.txt').write_text('image_0005.png')
    dataset, _ = find_held_out(run, str(other / 'theirs.txt'))
    assert (dataset['data_root'], dataset['ann_file']) == (root, str(other / 'theirs.txt'))
    # a run on a manifest alone
    run['train_dataloader']['dataset'].update(data_root=f'{root}/train.txt', ann_file='')
    dataset, _ = find_held_out(run, 'unseen.txt')
    assert (dataset['data_root'], dataset['ann_file']) == (root, 'unseen.txt')


def test_the_test_set_of_the_config(run):
    test = dict(type='ImageFolderDataset', data_root='x', ann_file='test.txt', flip=False)
    run = dict(run, test_dataloader=dict(dataset=test), test_evaluator=dict(split='report'))
    assert find_held_out(run, None) == (test, 'report')


def test_images_that_chose_a_snapshot_do_not_report_on_it(run, make_image_folder, tmp_path):
    root = Path(run['train_dataloader']['dataset']['data_root'])
    (root / 'last.txt').write_text('image_0005.png')
    chosen = dict(run, val_dataloader=dict(dataset=find_held_out(run, 'unseen.txt')[0]))
    others = make_image_folder(tmp_path / 'others', num=2, seed=1)
    check_not_chosen_by(chosen, dict(dataset=find_held_out(run, str(others))[0]), 'test', 'best')
    for held_out, told in (('unseen.txt', '2 of the 2'), ('last.txt', '1 of the 1')):
        loader = dict(dataset=find_held_out(run, held_out)[0])
        with pytest.raises(ValueError, match=f'{told} images of the split x are the images that'):
            check_not_chosen_by(chosen, loader, 'x', 'best_kid24_val_pixels_iter_2.pth')
    shutil.copy(root / 'image_0004.png', others / 'copy.png')
    with pytest.raises(ValueError, match='1 of the 3 images of the split test are copies of'):
        check_not_chosen_by(chosen, dict(dataset=find_held_out(run, str(others))[0]), 'test', 'x')
    # nothing to compare with: no validation, mmagic's loaders, images that have moved away
    loader = dict(dataset=find_held_out(run, 'unseen.txt')[0])
    check_not_chosen_by(run, loader, 'x', 'best')
    check_not_chosen_by(chosen, None, 'x', 'best')
    chosen['val_dataloader']['dataset']['data_root'] = str(tmp_path / 'moved')
    check_not_chosen_by(chosen, loader, 'x', 'best')


@pytest.mark.parametrize(
    ('held_out', 'message'),
    [
        ('mixed.txt', r'1 of the 3 images of --held-out mixed\.txt are training'),
        ('nowhere.txt', r'nowhere\.txt is neither a folder nor a manifest'),
        (None, 'name unseen images by --held-out'),
    ],
)
def test_images_that_are_not_unseen_are_refused(run, held_out, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        find_held_out(run, held_out)


def test_another_data_set_is_taken_for_a_folder_of_squares():
    """mmagic's own data sets say no view; their run's size and flips do."""
    pipeline = [dict(type='LoadImageFromFile', key='gt'), dict(type='Flip', keys=['gt'])]
    dataset = dict(type='BasicImageDataset', data_root='photos', pipeline=pipeline)
    dataset['data_prefix'] = dict(gt='faces')
    loader = dict(dataset=dict(type='SeededDraws', dataset=dataset))
    run = dict(train_dataloader=loader, model=dict(generator=dict(out_size=64)))
    assert find_training_images(run, ann_file='a.txt') == dict(
        type='ImageFolderDataset',
        data_root='photos/faces',
        ann_file='a.txt',
        image_size=64,
        flip=True,
    )
    del dataset['data_root']
    with pytest.raises(ValueError, match='a BasicImageDataset without data_root'):
        find_training_images(run)


def test_the_best_snapshot_is_chosen_by_a_number_that_is_measured(run, make_image_folder, tmp_path):
    cfg = Config(
        dict(
            run,
            val_evaluator=dict(fake_nums=24, spaces=dict(pixels=dict(type='PixelEncoder'))),
            train_cfg=dict(),
            default_hooks=dict(checkpoint=dict(interval=5)),
        )
    )
    cfg.train_dataloader.batch_size = 4
    assert add_validation(cfg, 'unseen.txt') == 'kid24_val_pixels'
    assert cfg.default_hooks.checkpoint.save_best == 'kid24_val_pixels'
    cfg.val_evaluator.update(metrics=['fid'], split='other', options=dict(fid=dict(fake_nums=30)))
    assert name_best(cfg) == 'fid30_other_pixels'
    cfg.val_evaluator.metrics = ['copying']
    with pytest.raises(ValueError, match='neither fid nor kid'):
        name_best(cfg)
