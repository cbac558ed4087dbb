"""DISP-StyleGAN2 on Obama-100 at 256 px, fine-tuned from FFHQ."""

_base_ = 'disp_stylegan2_panda.py'

train_dataloader = dict(dataset=dict(data_root='data/obama'))
