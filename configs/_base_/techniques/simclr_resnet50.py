"""Priors from a ResNet-50 that SimCLR trained on ImageNet without labels: its pooled features.

The paper does not state which weights it uses. These are OpenMMLab's of 800 epochs; put the file into
checkpoints/. It is the model of simclr_resnet50_16xb256-coslr-800e_in1k in
https://github.com/open-mmlab/mmpretrain/tree/main/configs/simclr. Another file with the names of
torchvision's ResNet-50 is encoder.checkpoint=...; weights that saw images without ImageNet's mean and
deviation also need encoder.mean=(0,0,0) encoder.std=(1,1,1).
"""

simclr_resnet50 = dict(
    encoder=dict(
        _delete_=True,
        type='CheckpointEncoder',
        checkpoint='checkpoints/simclr_resnet50_16xb256-coslr-800e_in1k_20220825-85fcc4de.pth',
        arch='torchvision/resnet50'),
    model=dict(prior_dim=2048),
    train_dataloader=dict(dataset=dict(bank_file='simclr_resnet50.safetensors')))
