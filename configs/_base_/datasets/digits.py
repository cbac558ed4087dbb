"""scikit-learn's digits 5 to 9, 100 images at 16 px; see tools/dataset_converters/digits.py."""

# A mirrored digit is no digit. Few images, kept in memory, need no worker processes.
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    sampler=dict(type='ResumableSampler'),
    dataset=dict(
        type='ImageFolderDataset',
        data_root='data/digits',
        ann_file='train.txt',
        image_size=16,
        bank_file='simclr.safetensors'))

val_dataloader = dict(
    batch_size=64,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ImageFolderDataset', data_root='data/digits', ann_file='val.txt', image_size=16))

test_dataloader = dict(
    val_dataloader, dataset=dict(val_dataloader['dataset'], ann_file='report.txt'))
