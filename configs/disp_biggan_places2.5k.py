"""DISP-BigGAN on Places2.5k at 128 px, fine-tuned from ImageNet."""

_base_ = [
    '_base_/models/disp_biggan_128.py',
    '_base_/datasets/paper.py',
    '_base_/priors/vgg16_fc7.py',
    '_base_/schedules/sngan_biggan.py',
    '_base_/techniques/transfer_biggan.py',
]

model = dict(_base_.transfer_biggan.model, prior_dim=4096)

train_dataloader = dict(
    batch_size=256,  # not stated in the paper
    dataset=dict(data_root='data/places2.5k', image_size=128))

# One number for DiffAugment and FreezeD and another for the rest is the paper's; both numbers, and
# which of them is larger, are not stated in the paper.
train_cfg = dict(max_iters=5000)

# about 2 GB each
default_hooks = dict(checkpoint=dict(interval=1000, max_keep_ckpts=5))
