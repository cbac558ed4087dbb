"""What every run shares: mmagic's runtime, and what priors and exact resuming add to it."""

_base_ = 'mmagic::_base_/gen_default_runtime.py'

custom_imports = dict(imports=['disp_plugin.register'], allow_failed_imports=False)

# All processes draw from one stream and take their own share of it, so that their number does not
# change what is trained.
randomness = dict(diff_rank_seed=False)

# Where several processes train, BatchNorm takes the statistics of the whole batch, as in one
# process (not stated in the paper).
sync_bn = 'torch'

# A config that uses priors puts its PriorSamplerHook before these.
custom_hooks = [
    dict(type='RandomStateHook'),
    dict(type='EMABatchNormHook'),
    # where held-out images are named; without validation these do nothing
    dict(type='RevalidationHook'),
    dict(type='MetricCardHook'),
    dict(type='OverfittingHook'),
    dict(
        type='VisualizationHook',
        interval=1000,
        fixed_input=True,
        n_samples=64,
        n_row=8,
        vis_kwargs_list=dict(type='FixedPriors', name='fake_img', target_keys='fake_img')),
]

# TensorBoard as well:
# --cfg-options "vis_backends=[dict(type='VisBackend'), dict(type='TensorboardVisBackend')]"
vis_backends = [dict(type='VisBackend')]
visualizer = dict(type='Visualizer', vis_backends=vis_backends)

# No metric runs during training unless held-out images are named (tools/train.py --held-out).
val_dataloader = val_cfg = val_evaluator = None
test_dataloader = test_cfg = test_evaluator = None
