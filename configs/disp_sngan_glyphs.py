"""DISP-SNGAN on 100 textured letters of another alphabet than the encoder knows: on a CPU."""

_base_ = [
    '_base_/models/disp_sngan_16_small.py',
    '_base_/datasets/glyphs.py',
    '_base_/priors/glyphs_supervised.py',
    '_base_/schedules/glyphs.py',
]

bank_file = 'data/priors/glyphs_supervised.safetensors'

model = dict(
    prior_dim=_base_.prior_dim,
    # raw features are nearly parallel; the paper does not center them
    prior_norm='centered_l2',
    # fewer mixtures that are no letter, but less recall (docs/results.md); the paper mixes any two
    sampler=dict(num_neighbors=5))

train_dataloader = dict(
    batch_size=_base_.batch_size,
    dataset=dict(
        dataset=dict(
            pipeline=[
                *_base_.load_pipeline,
                dict(type='LoadPrior', bank_file=bank_file),
                dict(type='PackInputs', data_keys=['gt_prior']),
            ])))

custom_hooks = [
    dict(type='PriorSamplerHook', bank_file=bank_file, encoder=_base_.encoder),
    *_base_.custom_hooks,
]

val_evaluator = dict(encoder=_base_.encoder, spaces=dict(prior=_base_.encoder))
test_evaluator = val_evaluator
