"""DISP-SNGAN on 100 textured letters of an alphabet that the encoder does not know: on a CPU.

Nothing here is the paper's.
"""

_base_ = [
    '_base_/models/disp_sngan_16.py',
    '_base_/datasets/glyphs.py',
    '_base_/priors/glyphs_supervised.py',
    '_base_/schedules/digits.py',
]

model = dict(
    prior_dim=128,
    # raw features are nearly parallel; the paper mentions no centering
    prior_norm='centered_l2',
    # fewer mixtures that are no letter, but less recall (docs/results.md); the paper mixes any two
    sampler=dict(num_neighbors=5),
    # half the width of the digits' networks: many runs are compared on a CPU
    generator=dict(base_channels=16),
    discriminator=dict(discriminator=dict(base_channels=16)))

# batches for the discriminator: 1,500 steps of the generator x 2
train_cfg = dict(max_iters=1500 * 2, val_begin=500, val_interval=500)

default_hooks = dict(checkpoint=dict(interval=1000))

# letters differ by color as much as by shape
val_evaluator = dict(spaces=dict(pixels=dict(color=True)))
test_evaluator = val_evaluator
