"""What every run shares: mmagic's runtime, priors, exact resuming and sample grids."""

_base_ = 'mmagic::_base_/gen_default_runtime.py'

custom_imports = dict(imports=['disp_plugin.register'], allow_failed_imports=False)

# All processes share one stream of random numbers, so their count does not change the training.
randomness = dict(diff_rank_seed=False)

# BatchNorm uses the statistics of the whole batch, however many processes share it
# (not stated in the paper).
sync_bn = 'torch'

# This list holds no decision: a hook that has nothing to do in a run does nothing.
custom_hooks = [
    dict(type='FiniteHook'),
    dict(type='PriorSamplerHook'),
    dict(type='SelfConditionedHook'),
    dict(type='RandomStateHook'),
    dict(type='EMABatchNormHook'),
    # these three need a validation
    dict(type='RevalidationHook'),
    dict(type='MetricCardHook'),
    dict(type='OverfittingHook'),
]

default_hooks = dict(
    visualization=dict(
        type='VisualizationHook',
        interval=1000,
        fixed_input=True,
        n_samples=64,
        n_row=8,
        vis_kwargs_list=dict(type='FixedPriors', name='fake_img', target_keys='fake_img')))

# Nothing is measured during training unless held-out images are named (tools/train.py --held-out).
val_cfg = val_evaluator = test_cfg = test_evaluator = None
