"""A folder of images: each is cropped to a square, resized and mirrored at random.

A config adds batch_size, and the data set's data_root, image_size and bank_file. Images are kept in
memory once they are decoded, so that workers pay in the first pass only, or where most do not fit.
"""

train_dataloader = dict(
    num_workers=4,
    sampler=dict(type='ResumableSampler'),
    dataset=dict(type='ImageFolderDataset', flip=True))  # the flip: not stated in the paper
