"""DISP on StyleGAN2 at 256 px that starts from FFHQ, as in the paper.

The file is in mmagic's model zoo, at
https://github.com/open-mmlab/mmagic/tree/main/configs/styleganv2, of the config
stylegan2_c2_8xb4-800kiters_ffhq-256x256. Files of NVIDIA's and of rosinality's code load as well.
"""

_base_ = './disp_stylegan2_256.py'

model = dict(
    pretrained=dict(
        checkpoint='checkpoints/stylegan2_c2_ffhq_256_b4x8_20210407_160709-7890ae1f.pth'))
