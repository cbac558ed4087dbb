"""Priors from a ResNet-50 trained on ImageNet by SimCLR, without labels: its pooled features.

Which weights the paper uses is not stated in it. These are OpenMMLab's, of 800 epochs; put the file
into checkpoints/. It is the model of simclr_resnet50_16xb256-coslr-800e_in1k in
https://github.com/open-mmlab/mmpretrain/tree/main/configs/simclr. Another file, with the names of
torchvision's ResNet-50, is encoder.checkpoint=...; one of weights that saw images without ImageNet's
mean and deviation also needs encoder.mean=(0,0,0) encoder.std=(1,1,1).
"""

encoder = dict(
    type='CheckpointEncoder',
    checkpoint='checkpoints/simclr_resnet50_16xb256-coslr-800e_in1k_20220825-85fcc4de.pth',
    arch='torchvision/resnet50')
prior_dim = 2048
