"""A folder of images, seen at 256 px, mirrored at random."""

_base_ = './images_128.py'

image_size = 256

load_pipeline = [
    dict(type='LoadTrainingImage'),
    dict(type='CenterCropLongEdge', keys='gt'),
    dict(
        type='Resize',
        keys='gt',
        scale=(image_size, image_size),
        interpolation='bicubic',
        backend='pillow'),
    # not stated in the paper
    dict(type='Flip', keys='gt', flip_ratio=0.5, direction='horizontal'),
]
