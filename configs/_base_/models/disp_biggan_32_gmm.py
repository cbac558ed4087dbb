"""DISP on BigGAN at 32 px for the paper's large-scale table, with priors from a mixture."""

_base_ = './disp_biggan_32.py'

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
    # not stated in the paper; disp_biggan_32.py has mmagic's 128
    generator=dict(noise_size=120))
