"""TransferGAN for StyleGAN2: start from FFHQ at 256 px, as in the paper."""

# From mmagic's zoo, downloaded to checkpoints/. Files of NVIDIA's and rosinality's code become ones
# of mmagic's layout by tools/model_converters/.
transfer_stylegan2 = dict(
    model=dict(pretrained=dict(checkpoint='stylegan2_c2_8xb4-800kiters_ffhq-256x256')))
