"""A folder of images: each is cropped to a square, resized and mirrored at random.

A config adds batch_size, and the data set's data_root, image_size and bank_file.
"""

train_dataloader = dict(
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler'),
    dataset=dict(type='ImageFolderDataset', flip=True))  # the flip: not stated in the paper
