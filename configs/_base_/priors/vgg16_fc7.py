"""Priors from Vgg16 trained on ImageNet's classes: the paper's "last layer activations".

Which layer that is, is not stated in the paper: fc7, after its ReLU, 4096 numbers. The logits are
encoder.layer=logits with prior_dim=1000.
"""

# without a layer it is the last hidden one: fc7 of a VGG, the pooled features of a ResNet
encoder = dict(type='TorchvisionEncoder', model='vgg16')
prior_dim = 4096
