"""Priors from Vgg16 trained on ImageNet's classes: the paper's "last layer activations".

The paper does not state which layer. This is fc7 after its ReLU: model.prior_dim=4096. For the
logits, set encoder.layer='logits' and model.prior_dim=1000.
"""

# Without a layer it is the last hidden one: fc7 of a VGG, the pooled features of a ResNet.
encoder = dict(type='TorchvisionEncoder', model='vgg16')
