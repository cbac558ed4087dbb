"""The perceptual loss of GLANN in the digits' own encoder, where Vgg16's weights are not at hand."""

perceptual_digits = dict(
    model=dict(
        perceptual=dict(
            encoder=dict(
                _delete_=True,
                type='CheckpointEncoder',
                checkpoint='data/digits/encoder.pth'),
            layers=['act1', 'layer1'])))
