"""DISP on BigGAN at 128 px for the paper's large-scale table, with priors from a mixture."""

_base_ = './disp_biggan_128.py'

model = dict(
    # 1000 components and diagonal covariances: not stated in the paper; a subset of 200,000 is the
    # paper's, and a smaller bank is used whole
    sampler=dict(
        _delete_=True,
        type='GMMPriorSampler',
        num_components=1000,
        covariance_type='diag',
        fit_subset=200000,
        seed=0),
    discriminator_steps=4,  # not stated in the paper
    # .9999 from step 1000: not stated in the paper
    ema_config=dict(momentum=0.0001, start_iter=1000))
