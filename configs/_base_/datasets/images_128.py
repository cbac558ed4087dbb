"""A folder of images, seen at 128 px, mirrored at random."""

data_root = None
image_size = 128

# The encoder sees images as these leave them. LoadPrior and PackInputs are put after them.
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

# A config that uses this sets batch_size and the dataset's pipeline.
train_dataloader = dict(
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler'),
    dataset=dict(
        type='SeededDraws',
        dataset=dict(type='ImageFolderDataset', data_root=data_root, ann_file='')))
