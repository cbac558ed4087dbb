"""Priors from a ResNet-50 trained on ImageNet's classes: its pooled features, of the paper's Table 8."""

resnet50_imagenet = dict(
    encoder=dict(_delete_=True, type='TorchvisionEncoder', model='resnet50'),
    model=dict(prior_dim=2048),
    train_dataloader=dict(dataset=dict(bank_file='resnet50_imagenet.safetensors')))
