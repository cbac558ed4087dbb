"""DISP-BigGAN on 100 digits of the classes 5 to 9: minutes on a CPU.

_base_/priors/digits_simclr.py says how its images and encoder are made.
"""

_base_ = [
    '_base_/models/disp_biggan_16.py',
    '_base_/datasets/digits.py',
    '_base_/priors/digits_simclr.py',
    '_base_/schedules/digits.py',
]

model = dict(
    prior_dim=128,
    # raw features are nearly parallel, and centering them helped most here; the paper mentions none
    prior_norm='centered_l2',
    # fewer mixtures that are no digit, but less recall (docs/results.md); the paper mixes any two
    sampler=dict(num_neighbors=5))
