"""DISP on mmagic's BigGAN at 128 px: ch 96, E = 128 and the hierarchical latent; F = 1536."""

_base_ = 'mmagic::_base_/models/biggan/base_biggan_128x128.py'

# A config adds prior_dim.
model = dict(
    type='DISPBigGAN',
    # mmagic's DataPreprocessor, a batch at a time
    data_preprocessor=dict(type='StackingPreprocessor'),
    image_size=128,  # of both networks
    prior_norm='none',
    channels_last=True,
    # Beta(1, 1), the uniform law: not stated in the paper
    sampler=dict(type='VicinalMixSampler', alpha=1.0),
    # mmagic's config brings shared_dim=128 and split_noise, the hierarchical latent
    generator=dict(type='DISPBigGANGenerator', output_scale=None),
    discriminator=dict(
        _delete_=True,
        type='PriorProjectionDiscriminator',
        with_spectral_norm=True,
        sn_style='ajbrock',
        sn_eps=1e-6,
        # mmagic's config has inplace=True, and its block then adds a shortcut without what is negative;
        # in BigGAN-PyTorch, the paper's code base, it is whole
        discriminator=dict(
            _base_.model.discriminator,
            input_scale=None,
            act_cfg=dict(type='ReLU', inplace=False))),
    # EMA is the paper's; its momentum and start are not stated in the paper
    ema_config=dict(type='ExponentialMovingAverage', momentum=0.001, start_iter=1000))
