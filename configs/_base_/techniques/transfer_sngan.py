"""TransferGAN for SNGAN: start from ImageNet at 128 px."""

# Starting from ImageNet is the paper's; the weights are from mmagic's zoo and are downloaded to
# checkpoints/. The paper has spectral norm in both networks, but this generator was trained without
# it: dividing its weights by their norms would make it another generator.
transfer_sngan = dict(
    model=dict(
        pretrained=dict(
            checkpoint='sngan-proj_woReLUinplace_Glr2e-4_Dlr5e-5_ndisc5-2xb128_imagenet1k-128x128'
        ),
        generator=dict(with_spectral_norm=False)))
