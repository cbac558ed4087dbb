"""scikit-learn's digits 5 to 9, 100 images; see tools/dataset_converters/digits.py."""

_base_ = './images_128.py'

data_root = 'data/digits'
image_size = 16

# A mirrored digit is no digit.
load_pipeline = [
    dict(type='LoadTrainingImage'),
    dict(
        type='Resize',
        keys='gt',
        scale=(image_size, image_size),
        interpolation='bicubic',
        backend='pillow'),
]

# so few and so small images are read faster than they are handed over by another process
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(dataset=dict(data_root=data_root, ann_file='train.txt')))
