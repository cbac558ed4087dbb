"""100 pandas; see tools/dataset_converters/few_shot_256.py."""

_base_ = './images_256.py'

data_root = 'data/panda'

train_dataloader = dict(dataset=dict(dataset=dict(data_root=data_root, ann_file='train.txt')))
