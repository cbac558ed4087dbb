"""IC-GAN (Casanova et al. 2021, arXiv 2109.05070): the condition is the prior of another image.

The real image is one of the 50 nearest to that whose prior it is scored against, which is not among
them, as in facebookresearch/ic_gan; there, small or long-tailed sets have 5. Fakes of a step take
the priors of its real images, where the published code draws others. Sampled are priors of
training images, never mixed; model.sampler=dict(type='KMeansPriorSampler', ...) draws centers of
clusters, where the published code takes the training image nearest to each.
"""

icgan = dict(
    model=dict(
        # unit vectors, as published
        prior_norm='l2',
        prior_length=1.0,
        sampler=dict(_delete_=True, type='EmpiricalPriorSampler')),
    train_dataloader=dict(dataset=dict(num_neighbors=50)))
