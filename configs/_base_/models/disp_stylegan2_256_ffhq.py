"""DISP on StyleGAN2 at 256 px that starts from FFHQ, as in the paper.

It names a model of mmagic's zoo, which is downloaded to checkpoints/ where its file is not there.
Files of NVIDIA's and of rosinality's code load as well.
"""

_base_ = './disp_stylegan2_256.py'

model = dict(pretrained=dict(checkpoint='stylegan2_c2_8xb4-800kiters_ffhq-256x256'))
