"""Textured Georgian letters, 100 images; see tools/dataset_converters/glyphs.py."""

_base_ = './digits.py'

data_root = 'data/glyphs'

# A mirrored letter is no letter either, so that the pipeline is that of the digits: 16 px, because
# larger images take hours on a CPU.
train_dataloader = dict(dataset=dict(dataset=dict(data_root=data_root)))
