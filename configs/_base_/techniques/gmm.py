"""Priors of new images from a mixture of Gaussians, the paper's for large data.

Its Table 5 fits the mixture to 50,000, 100,000, 200,000 and 500,000 priors. Training does not depend
on it, so tools/fit_sampler.py can fit each of them to one trained model.
"""

# 1000 components and diagonal covariances: not stated in the paper; a subset of 200,000 is the
# paper's, and a smaller bank is used whole
gmm = dict(
    model=dict(
        sampler=dict(
            _delete_=True,
            type='GMMPriorSampler',
            num_components=1000,
            covariance_type='diag',
            fit_subset=200000,
            # equation (6) fits the priors themselves; 0.95, the sampler's own default, fits them
            # along principal axes
            pca_variance=None,
            seed=0)))
