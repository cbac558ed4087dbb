"""A data set of the paper with the bank of its default priors; see tools/dataset_converters/.

A config adds batch_size, and the data set's data_root and image_size.
"""

_base_ = './images.py'

train_dataloader = dict(
    dataset=dict(ann_file='train.txt', bank_file='vgg16_fc7.safetensors'))
