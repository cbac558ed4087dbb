"""TransferGAN for BigGAN from the weights of BigGAN-PyTorch, ImageNet at 128 px: the paper's start.

https://github.com/ajbrock/BigGAN-PyTorch links a folder with G.pth, G_ema.pth and D.pth. Before
training:

    python tools/model_converters/biggan_pytorch.py FOLDER --out checkpoints/biggan_pytorch.safetensors
"""

transfer_biggan_pytorch = dict(
    model=dict(
        pretrained=dict(checkpoint='checkpoints/biggan_pytorch.safetensors'),
        discriminator=dict(discriminator=dict(act_cfg=dict(inplace=False)))))
