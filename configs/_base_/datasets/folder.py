"""Any folder of images. Nothing here is the paper's. A config adds the data set's bank_file."""

_base_ = './images.py'

train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        data_root='data/images',
        image_size=64,
        flip=True))  # False where left and right mean something, as in text
