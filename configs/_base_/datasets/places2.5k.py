"""500 images of each of five classes of Places365; see tools/dataset_converters/places2_5k.py."""

_base_ = './images_128.py'

data_root = 'data/places2.5k'

train_dataloader = dict(dataset=dict(dataset=dict(data_root=data_root, ann_file='train.txt')))
