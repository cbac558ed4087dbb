"""The per-image-embedding baseline of disp_stylegan2_panda.py.

The prior of image i is its own unit vector, so that G_emb and D_emb hold one learned embedding for
each training image. The paper's baseline for few images.
"""

_base_ = 'disp_stylegan2_panda.py'

# A unit vector has length 1, a prior of D numbers up to sqrt(D) or so: to compare at the same
# strength of the condition, give scale the mean length of the priors.
encoder = dict(type='PerImageEncoder', num_images=100, scale=1.0)
prior_dim = 100
bank_file = 'data/priors/panda_per_image.safetensors'

model = dict(prior_dim=prior_dim)

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

# in the place of the base's encoder, of which nothing is kept
encoder['_delete_'] = True
