"""Minutes on a CPU, for the glyphs: the schedule and the metrics of the digits, on other images.

Nothing here is the paper's.
"""

_base_ = './digits.py'

batch_size = 16
# batches for the discriminator: 1,500 steps of the generator x 2
max_iters = 1500 * 2

train_cfg = dict(max_iters=max_iters, val_begin=500, val_interval=500)

default_hooks = dict(checkpoint=dict(interval=1000))

# Pixels in color, since letters differ by it as much as by their shapes. data_root is set again
# because that of the training images is another base's.
val_dataloader = dict(dataset=dict(data_root='data/glyphs'))
val_evaluator = dict(
    train_dataset=dict(data_root='data/glyphs'), spaces=dict(pixels=dict(color=True)))
test_dataloader = dict(dataset=dict(data_root='data/glyphs'))
test_evaluator = dict(
    train_dataset=dict(data_root='data/glyphs'), spaces=dict(pixels=dict(color=True)))
