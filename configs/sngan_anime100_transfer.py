"""SNGAN with an embedding for each image on Anime-100, fine-tuned from ImageNet (TransferGAN).

The baseline of disp_sngan_anime100_transfer.py.
"""

_base_ = 'sngan_anime100_per_image.py'

# Starting from ImageNet is the paper's. The file is in mmagic's model zoo, at
# https://github.com/open-mmlab/mmagic/tree/main/configs/sngan_proj, of the config
# sngan-proj_woReLUinplace_Glr2e-4_Dlr5e-5_ndisc5_2xb128_imagenet1k-128x128.
pretrained = (
    'checkpoints/sngan_proj_imagenet1k_128_Glr2e-4_Dlr5e-5_ndisc5_b128x2_'
    'woReLUinplace_fid-iter988000_20210730_131424-061bf803.pth')

model = dict(
    pretrained=dict(checkpoint=pretrained),
    # The checkpoint's generator was trained without: to divide its weights by their norms now
    # would make another generator of it.
    generator=dict(with_spectral_norm=False))
