"""The training split of CUB-200-2011, 5,994 birds; see tools/dataset_converters/cub6k.py."""

_base_ = './images_128.py'

data_root = 'data/cub6k'

train_dataloader = dict(dataset=dict(dataset=dict(data_root=data_root, ann_file='train.txt')))
