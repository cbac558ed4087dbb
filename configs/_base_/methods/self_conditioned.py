"""Self-Conditioned GAN: conditioned on cells of the training images, found by D's own features."""

# The paper's text has lost the numbers; they are those of stevliu/self-conditioned-gan for CIFAR.
self_conditioned = dict(
    encoder=None,
    model=dict(
        per_image=True,
        per_image_scale=1.0,
        prior_dim=100,  # cells
        prior_norm='none',
        prior_length=None,
        sampler=dict(
            _delete_=True, type='SelfConditionedSampler', interval=25000, num_samples=25000)),
    train_dataloader=dict(dataset=dict(bank_file=None)))
