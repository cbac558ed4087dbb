"""Priors for the digits 5 to 9 from a small encoder trained by SimCLR on the digits 0 to 4 only.

Made by tools/pretrain_encoder.py.
"""

encoder = dict(type='CheckpointEncoder', checkpoint='data/digits/encoder.pth')
prior_dim = 128
