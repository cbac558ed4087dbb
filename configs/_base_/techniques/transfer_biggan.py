"""TransferGAN for BigGAN: start from ImageNet at 128 px."""

# Starting from ImageNet is the paper's, from the weights of BigGAN-PyTorch; these are mmagic's own
# training of it, from its zoo, and are downloaded to checkpoints/.
transfer_biggan = dict(
    model=dict(
        pretrained=dict(checkpoint='biggan_ajbrock-sn_8xb32-1500kiters_imagenet1k-128x128')))
