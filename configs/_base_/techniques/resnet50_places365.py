"""Priors from a ResNet-50 trained on the classes of Places365: its pooled features, of Table 8.

The paper does not state which weights it uses. These are the data set's authors': put
http://places2.csail.mit.edu/models_places365/resnet50_places365.pth.tar into checkpoints/.
"""

resnet50_places365 = dict(
    encoder=dict(
        _delete_=True,
        type='CheckpointEncoder',
        checkpoint='checkpoints/resnet50_places365.pth.tar',
        arch='torchvision/resnet50'),
    model=dict(prior_dim=2048),
    train_dataloader=dict(dataset=dict(bank_file='resnet50_places365.safetensors')))
