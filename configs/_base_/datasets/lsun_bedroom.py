"""3 million bedrooms of LSUN; see tools/dataset_converters/lsun.py."""

_base_ = './images_128.py'

data_root = 'data/lsun_bedroom'

train_dataloader = dict(dataset=dict(dataset=dict(data_root=data_root, ann_file='train.txt')))
