"""DISP-BigGAN on FFHQ2k at 128 px, fine-tuned from ImageNet."""

_base_ = 'disp_biggan_places2.5k.py'

train_dataloader = dict(dataset=dict(data_root='data/ffhq2k'))
