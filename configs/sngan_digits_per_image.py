"""The per-image-embedding baseline of disp_sngan_digits.py.

The prior of image i is its own unit vector, so that G_emb and D_emb hold one learned embedding for
each training image. The paper's baseline for few images.
"""

_base_ = 'disp_sngan_digits.py'

# As long as the priors of 128 numbers that it is compared with are once they are normalized; 1.0 is
# the plain embedding.
encoder = dict(type='PerImageEncoder', num_images=100, scale=128**0.5)
prior_dim = 100
bank_file = 'data/priors/digits_per_image.safetensors'

model = dict(
    prior_dim=prior_dim,
    # any other normalization would divide the length, and so the scale, out again
    prior_norm='none',
    # no unit vector is nearer to another than the others are
    sampler=dict(num_neighbors=None))

train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            pipeline=[
                *_base_.load_pipeline,
                dict(type='LoadPrior', bank_file=bank_file),
                dict(type='PackInputs', data_keys=['gt_prior']),
            ])))

custom_hooks = [
    dict(type='PriorSamplerHook', bank_file=bank_file, encoder=dict(encoder)),
    *_base_.custom_hooks[1:],
]

val_evaluator = dict(
    encoder=dict(encoder, _delete_=True), spaces=dict(prior=dict(encoder, _delete_=True)))
test_evaluator = val_evaluator

# in the place of the base's encoder, of which nothing is kept
encoder['_delete_'] = True
