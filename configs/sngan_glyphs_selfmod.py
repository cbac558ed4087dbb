"""The unconditional, self-modulated baseline of disp_sngan_glyphs.py: no prior anywhere.

What the prior brings can be seen beside it.
"""

_base_ = 'disp_sngan_glyphs.py'

encoder = bank_file = None
prior_dim = 0

model = dict(prior_dim=prior_dim, prior_norm='none', sampler=None)

train_dataloader = dict(
    dataset=dict(dataset=dict(pipeline=[*_base_.load_pipeline, dict(type='PackInputs')])))

# all but the first, which is PriorSamplerHook
custom_hooks = _base_.custom_hooks[1:]

val_evaluator = dict(encoder=None, spaces=dict(prior=None))
test_evaluator = val_evaluator
