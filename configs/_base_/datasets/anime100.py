"""100 anime portraits; see tools/dataset_converters/anime100.py."""

_base_ = './images_128.py'

data_root = 'data/anime100'

train_dataloader = dict(dataset=dict(dataset=dict(data_root=data_root, ann_file='train.txt')))
