"""DISP-SNGAN on Anime-100, from scratch."""

_base_ = [
    '_base_/models/disp_sngan_128.py',
    '_base_/datasets/paper.py',
    '_base_/priors/vgg16_fc7.py',
    '_base_/schedules/sngan_biggan.py',
]

model = dict(prior_dim=4096)

train_dataloader = dict(
    batch_size=25,  # not stated in the paper
    num_workers=0,  # 100 images, kept in memory
    dataset=dict(data_root='data/anime100', image_size=128))

# batches for the discriminator: 30,000 steps of the generator (not stated in the paper) x 4
train_cfg = dict(max_iters=30000 * 4)
