"""Textured Georgian letters, 100 images at 16 px; see tools/dataset_converters/glyphs.py."""

_base_ = './digits.py'

train_dataloader = dict(
    batch_size=16,
    dataset=dict(data_root='data/glyphs', bank_file='supervised.safetensors'))
val_dataloader = dict(dataset=dict(data_root='data/glyphs'))
test_dataloader = dict(dataset=dict(data_root='data/glyphs'))
