"""Priors for the digits 5 to 9 from a small encoder that SimCLR trained on the digits 0 to 4.

model.prior_dim is 128. ``make demo`` does all of this; by hand, before training:

    python tools/dataset_converters/digits.py
    python tools/pretrain_encoder.py data/digits data/digits/encoder.pth --ann-file source.txt \\
        --arch timm/resnet10t --arch-kwargs '{"channels": [16, 32, 64, 128], "stem_width": 8}' \\
        --size 32 --no-flip --batch-size 64 --lr 2e-3 --temperature 0.2 --epochs 20 \\
        --color-jitter 0.8 --min-crop 0.5 --rotation 15 --shift 0.1
"""

encoder = dict(type='CheckpointEncoder', checkpoint='data/digits/encoder.pth')
