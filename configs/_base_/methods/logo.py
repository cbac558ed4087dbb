"""Logo-GAN: conditioned on K-means cells of the training images' priors, as on classes.

The bank and its encoder are the config's.
"""

# 10 cells, and 5, are the paper's
logo = dict(
    model=dict(
        per_image=True,
        per_image_scale=1.0,
        prior_dim=10,
        prior_norm='none',
        prior_length=None,
        sampler=dict(_delete_=True, type='CellSampler')))
