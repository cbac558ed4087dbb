"""SSGAN: the unconditional baseline, whose discriminator also tells quarter turns of images."""

_base_ = './unconditional.py'

# the weights are not stated in the paper; they are those of google/compare_gan
ssgan = dict(
    _base_.unconditional,
    model=dict(
        _base_.unconditional['model'],
        discriminator=dict(type='RotationDiscriminator'),
        disc_losses=dict(
            rotation=dict(type='RotationLoss', images='real', loss_weight=1.0)),
        gen_losses=dict(
            rotation=dict(type='RotationLoss', images='fake', loss_weight=0.2))))
