"""Priors from a ResNet-50 that SimCLR trained on CIFAR-100 itself, of the paper's Table 8.

How the paper trained it is not stated. Before training a GAN:

    python tools/pretrain_encoder.py data/cifar100 data/cifar100/simclr_resnet50.pth \\
        --ann-file train.txt --arch torchvision/resnet50 --size 32 --color-jitter 1 --epochs 500
"""

simclr_cifar100 = dict(
    encoder=dict(
        _delete_=True,
        type='CheckpointEncoder',
        checkpoint='data/cifar100/simclr_resnet50.pth'),
    model=dict(prior_dim=2048),
    train_dataloader=dict(dataset=dict(bank_file='simclr_cifar100.safetensors')))
