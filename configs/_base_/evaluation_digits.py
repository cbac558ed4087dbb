"""Metrics of the digits and glyphs. None needs weights from elsewhere.

The best snapshot is chosen on val.txt and reported on report.txt. There are two spaces: pixels,
which no network has shaped, and the encoder of the priors, which flatters a GAN trained on it.
"""

_base_ = './disp_runtime.py'

val_cfg = dict(_delete_=True, type='MultiValLoop')
val_evaluator = dict(
    _delete_=True,
    type='StandardEvaluator',
    metrics=None,  # all that take seconds
    spaces=dict(pixels=dict(type='PixelEncoder', size=8), prior='encoder'),
    fake_nums=1000,
    split='val')

test_cfg = dict(_delete_=True, type='MultiTestLoop')
test_evaluator = dict(val_evaluator, fake_nums=2000, split='report')
