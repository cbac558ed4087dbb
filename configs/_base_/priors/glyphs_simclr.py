"""Priors for Georgian letters from a small encoder that SimCLR trained on other alphabets only.

tools/pretrain_encoder.py data/glyphs data/glyphs/encoder.pth --ann-file source.txt \
    --arch timm/resnet10t --arch-kwargs '{"channels": [16, 32, 64, 128], "stem_width": 8}' \
    --size 32 --no-flip --batch-size 64 --lr 2e-3 --temperature 0.2 --epochs 20 \
    --color-jitter 0.5 --grayscale 0.1 --min-crop 0.5 --rotation 15 --shift 0.1
"""

encoder = dict(type='CheckpointEncoder', checkpoint='data/glyphs/encoder.pth')
prior_dim = 128
