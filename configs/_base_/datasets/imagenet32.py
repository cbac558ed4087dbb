"""ImageNet, downsampled to 32 px; see tools/dataset_converters/imagenet32.py."""

_base_ = './images_32.py'

data_root = 'data/imagenet32'

train_dataloader = dict(dataset=dict(dataset=dict(data_root=data_root, ann_file='train.txt')))
