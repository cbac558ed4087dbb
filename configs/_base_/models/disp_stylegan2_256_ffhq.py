"""DISP on StyleGAN2 at 256 px that starts from FFHQ, as in the paper.

It names a model of mmagic's zoo, which is downloaded to checkpoints/ where its file is not there.
Files of NVIDIA's and rosinality's code become ones of mmagic's layout by tools/model_converters/.
"""

_base_ = './disp_stylegan2_256.py'

model = dict(pretrained=dict(checkpoint='stylegan2_c2_8xb4-800kiters_ffhq-256x256'))
