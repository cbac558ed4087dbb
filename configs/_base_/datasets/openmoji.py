"""Busts of people drawn from OpenMoji, 100 images; see tools/dataset_converters/openmoji.py.

image_size is that of the prepared images, its --size.
"""

_base_ = './digits.py'

# A mirrored person holds things in the other hand; the held-out images do not.
train_dataloader = dict(
    batch_size=16,
    dataset=dict(data_root='data/openmoji', image_size=32, bank_file='lite0.safetensors'))
val_dataloader = dict(dataset=dict(data_root='data/openmoji', image_size=32))
test_dataloader = dict(
    dataset=dict(data_root='data/openmoji', image_size=32, ann_file='test.txt'))
