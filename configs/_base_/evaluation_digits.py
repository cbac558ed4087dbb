"""Metrics of the digits, of which none needs weights from elsewhere.

Snapshots are chosen by KID on the 200 images of val.txt and reported on those of report.txt; see
tools/dataset_converters/digits.py. Two spaces: pixels, which no network has shaped, and the
encoder of the priors, which flatters a generator that was trained on it.
"""

_base_ = './disp_runtime.py'

val_dataloader = dict(
    _delete_=True,
    batch_size=64,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ImageFolderDataset',
        data_root='data/digits',
        ann_file='val.txt',
        image_size=16))
val_cfg = dict(_delete_=True, type='MultiValLoop')
val_evaluator = dict(
    _delete_=True,
    type='StandardEvaluator',
    metrics=None,  # all that take seconds
    spaces=dict(pixels=dict(type='PixelEncoder', size=8)),
    train_dataset=dict(
        type='ImageFolderDataset',
        data_root='data/digits',
        ann_file='train.txt',
        image_size=16),
    fake_nums=1000,
    split='val')

test_dataloader = dict(
    **{key: value for key, value in val_dataloader.items() if key != 'dataset'},
    dataset=dict(val_dataloader['dataset'], ann_file='report.txt'))
test_cfg = dict(_delete_=True, type='MultiTestLoop')
test_evaluator = dict(val_evaluator, fake_nums=2000, split='report')
