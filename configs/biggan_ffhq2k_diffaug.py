"""Self-modulated BigGAN on FFHQ2k at 128 px, from scratch, with DiffAugment.

The baseline of disp_biggan_ffhq2k_diffaug.py.
"""

_base_ = 'biggan_ffhq2k_selfmod.py'

batch_size = 32  # not stated in the paper
# batches for the discriminator: 30,000 steps of the generator (not stated in the paper) x 4
max_iters = 30000 * 4

model = dict(
    pretrained=None,
    # the three augmentations are the paper's
    discriminator=dict(augmentation=dict(type='DiffAugment', policy='color,translation,cutout')),
    # the weight is not stated in the paper
    disc_losses=dict(
        consistency=dict(type='ConsistencyRegularization', loss_weight=10.0)),
    discriminator_steps=4)  # not stated in the paper

train_dataloader = dict(batch_size=batch_size)
train_cfg = dict(max_iters=max_iters)
