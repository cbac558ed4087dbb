"""Priors for the digits 5 to 9 from a small encoder that SimCLR trained on the digits 0 to 4.

tools/pretrain_encoder.py makes its file. model.prior_dim is 128.
"""

encoder = dict(type='CheckpointEncoder', checkpoint='data/digits/encoder.pth')
