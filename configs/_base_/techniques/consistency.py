"""Consistency regularization, which the paper adds to DiffAugment for SNGAN and BigGAN."""

# the weight is not stated in the paper; it is that of DiffAugment's code
consistency = dict(
    model=dict(
        disc_losses=dict(
            consistency=dict(type='ConsistencyRegularization', loss_weight=10.0))))
