"""DISP on mmagic's StyleGAN2 at 256 px: style, noise and G_emb(C(x)) of 512 numbers each."""

_base_ = 'mmagic::_base_/models/base_styleganv2.py'

# mmagic's loss_config: R1 with gamma 10 at every 16th step of D, path length at every 4th of G.
# The paper names the code of DiffAugment, which has no path-length regularization and computes R1 at
# every step: loss_config=dict(g_reg_weight=0, r1_interval=1, r1_loss_weight=10 / 2).

# A config adds prior_dim.
model = dict(
    type='DISPStyleGAN2',
    # mmagic's DataPreprocessor, a batch at a time
    data_preprocessor=dict(type='StackingPreprocessor'),
    image_size=256,
    prior_norm='none',
    # Beta(1, 1), the uniform law: not stated in the paper
    sampler=dict(type='VicinalMixSampler', alpha=1.0),
    generator=dict(type='DISPStyleGAN2Generator'),
    discriminator=dict(
        _delete_=True,
        type='PriorProjectionDiscriminator',
        # as all other weights of StyleGAN2: not stated in the paper
        equalized_lr=True,
        discriminator=dict(type='SizedStyleGAN2Discriminator')),
    # halved over 10,000 images of a batch of 16: not stated in the paper
    ema_config=dict(type='ExponentialMovingAverage', momentum=1 - 0.5**(16 / 10000)))
