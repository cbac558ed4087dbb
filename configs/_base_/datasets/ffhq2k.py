"""2,000 faces of FFHQ; see tools/dataset_converters/ffhq.py."""

_base_ = './images_128.py'

data_root = 'data/ffhq2k'

train_dataloader = dict(dataset=dict(dataset=dict(data_root=data_root, ann_file='train.txt')))
