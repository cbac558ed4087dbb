"""DISP-BigGAN on CIFAR-10 with a mixture of Gaussians: the paper's table for large data."""

_base_ = [
    '_base_/models/disp_biggan_32.py',
    '_base_/datasets/images.py',
    '_base_/priors/vgg16_fc7.py',
    '_base_/schedules/biggan_large.py',
    '_base_/techniques/gmm.py',
]

model = dict(
    prior_dim=4096,
    sampler=_base_.gmm.model.sampler,
    # not stated in the paper; disp_biggan_32.py has mmagic's 128
    generator=dict(noise_size=120))

train_dataloader = dict(
    batch_size=64,  # not stated in the paper
    dataset=dict(
        data_root='data/cifar10',
        ann_file='train.txt',
        image_size=32,
        bank_file='vgg16_fc7.safetensors'))
