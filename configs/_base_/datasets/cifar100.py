"""CIFAR-100; see tools/dataset_converters/cifar.py."""

_base_ = './images_32.py'

data_root = 'data/cifar100'

train_dataloader = dict(dataset=dict(dataset=dict(data_root=data_root, ann_file='train.txt')))
