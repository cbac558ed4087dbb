"""DISP on mmagic's SNGAN at 128 px, spectral norm in both networks; F = 1024."""

_base_ = 'mmagic::_base_/models/sngan_proj/base_sngan_proj_128x128.py'

# A config adds prior_dim.
model = dict(
    type='DISPSNGAN',
    # mmagic's DataPreprocessor, a batch at a time
    data_preprocessor=dict(type='StackingPreprocessor'),
    image_size=128,  # of both networks
    prior_norm='none',
    channels_last=True,
    # Beta(1, 1), the uniform law: not stated in the paper
    sampler=dict(type='VicinalMixSampler', alpha=1.0),
    generator=dict(
        type='DISPSNGANGenerator',
        output_scale=None,
        noise_size=128,  # not stated in the paper
        prior_emb_dim=128,  # not stated in the paper
        with_spectral_norm=True,
        # sync_bn of disp_runtime.py converts every norm; this option would leave some out
        auto_sync_bn=False),
    discriminator=dict(
        _delete_=True,
        type='PriorProjectionDiscriminator',
        with_spectral_norm=True,
        discriminator=dict(_base_.model.discriminator, input_scale=None)),
    discriminator_steps=4,  # not stated in the paper
    # EMA is the paper's; its momentum and start are not stated in the paper
    ema_config=dict(type='ExponentialMovingAverage', momentum=0.001, start_iter=1000))
