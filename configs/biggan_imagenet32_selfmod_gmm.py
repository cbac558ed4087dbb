"""The unconditional, self-modulated baseline of disp_biggan_imagenet32_*_gmm.py: no prior.

The paper's baseline for large data. Named _gmm after the table that it belongs to: with no priors
there is no mixture either.
"""

_base_ = 'disp_biggan_imagenet32_vgg16_gmm.py'

encoder = bank_file = None
prior_dim = 0

model = dict(prior_dim=prior_dim, prior_norm='none', sampler=None)

train_dataloader = dict(
    dataset=dict(dataset=dict(pipeline=[*_base_.load_pipeline, dict(type='PackInputs')])))

# all but the first, which is GMMSamplerHook
custom_hooks = _base_.custom_hooks[1:]
