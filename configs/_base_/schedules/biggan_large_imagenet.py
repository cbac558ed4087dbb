"""As biggan_large.py, but longer: the paper trains longer on ImageNet than on the other sets."""

_base_ = './biggan_large.py'

# batches for the discriminator: 200,000 steps of the generator (not stated in the paper) x 4
max_iters = 200000 * 4

train_cfg = dict(max_iters=max_iters)
