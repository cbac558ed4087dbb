"""Priors for Georgian letters from a small encoder that learned to tell Latin and Cyrillic ones.

Without labels, SimCLR that keeps colors tells images by their ground alone and never sees the
letters. Made by:

tools/corruption_ablation.py data/glyphs --out data/glyphs/encoders --percents 0 --labels prefix \
    --ann-file source.txt --arch timm/resnet10t --size 32 --no-flip --batch-size 64 --lr 2e-3 \
    --arch-kwargs '{"channels": [16, 32, 64, 128], "stem_width": 8}' --epochs 15 \
    --rotation 15 --shift 0.1 --min-crop 0.6 --color-jitter 0.5 --grayscale 0.2
"""

encoder = dict(type='CheckpointEncoder', checkpoint='data/glyphs/encoders/corrupted_000.pth')
prior_dim = 128
