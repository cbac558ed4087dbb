"""Priors for Georgian letters from a small encoder that can tell Latin and Cyrillic ones apart.

SimCLR with color kept tells images apart by their ground alone and never sees the letters, so this
encoder learns from labels. model.prior_dim is 128. Its file is made by:

tools/corruption_ablation.py data/glyphs --out data/glyphs/encoders --percents 0 --labels prefix \
    --ann-file source.txt --arch timm/resnet10t --size 32 --no-flip --batch-size 64 --lr 2e-3 \
    --arch-kwargs '{"channels": [16, 32, 64, 128], "stem_width": 8}' --epochs 15 \
    --rotation 15 --shift 0.1 --min-crop 0.6 --color-jitter 0.5 --grayscale 0.2
"""

encoder = dict(type='CheckpointEncoder', checkpoint='data/glyphs/encoders/corrupted_000.pth')
