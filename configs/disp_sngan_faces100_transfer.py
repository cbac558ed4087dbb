"""DISP-SNGAN on Faces-100, fine-tuned from ImageNet (TransferGAN)."""

_base_ = 'disp_sngan_faces100.py'

# Starting from ImageNet is the paper's; these weights are mmagic's. A name of its zoo: the file is
# downloaded to checkpoints/ where it is not there.
pretrained = 'sngan-proj_woReLUinplace_Glr2e-4_Dlr5e-5_ndisc5-2xb128_imagenet1k-128x128'

model = dict(
    pretrained=dict(checkpoint=pretrained),
    # The paper has spectral norm in both networks. This checkpoint's generator was trained without:
    # to divide its weights by their norms now would make another generator of it.
    generator=dict(with_spectral_norm=False))
