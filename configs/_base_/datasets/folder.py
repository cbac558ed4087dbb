"""Any folder of images. Nothing here is the paper's."""

_base_ = './images.py'

train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        data_root='data/images',
        image_size=64,
        flip=True,  # False where left and right mean something, as in text
        bank_file='vgg16_fc7.safetensors'))
