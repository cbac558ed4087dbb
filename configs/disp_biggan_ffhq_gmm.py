"""DISP-BigGAN on FFHQ at 128 px with a mixture of Gaussians: the paper's table for large data."""

_base_ = 'disp_biggan_lsun_bedroom_gmm.py'

train_dataloader = dict(dataset=dict(data_root='data/ffhq'))
