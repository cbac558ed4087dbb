"""DISP-SNGAN on Faces-100, from scratch."""

_base_ = 'disp_sngan_anime100.py'

train_dataloader = dict(dataset=dict(data_root='data/faces100'))
