"""TransferGAN for BigGAN: start from ImageNet at 128 px, from mmagic's own training of it.

Starting from ImageNet is the paper's, but from the weights of BigGAN-PyTorch, which are no plain
download: transfer_biggan_pytorch.py.
"""

# From mmagic's zoo, downloaded to checkpoints/.
transfer_biggan = dict(
    model=dict(
        pretrained=dict(checkpoint='biggan_ajbrock-sn_8xb32-1500kiters_imagenet1k-128x128'),
        # as these weights were trained: shortcuts without what is negative (disp_biggan_128.py)
        discriminator=dict(discriminator=dict(act_cfg=dict(inplace=True)))))
