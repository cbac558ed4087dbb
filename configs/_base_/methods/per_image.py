"""The per-image baseline: one learned embedding for each training image, the paper's for few images.

G_emb and D_emb hold the embeddings: the prior of an image is its own unit vector times
per_image_scale, of which the paper says nothing. prior_dim is the number of training images;
--method counts them. It also sets per_image_scale to the length of the priors that it replaces,
where prior_norm fixes one.
"""

per_image = dict(
    encoder=None,
    model=dict(
        per_image=True,
        per_image_scale=1.0,
        prior_dim=None,
        # any other normalization would divide the scale out again
        prior_norm='none',
        prior_length=None,
        sampler=dict(_delete_=True, type='PerImageSampler')),
    train_dataloader=dict(dataset=dict(bank_file=None)))
