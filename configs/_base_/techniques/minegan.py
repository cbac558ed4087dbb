"""MineGAN: a miner in front of a pretrained generator."""

minegan = dict(
    # The miner learns alone for 300 iterations, as in MineGAN's code for BigGAN (train.py); not
    # stated in the paper.
    model=dict(mining_iters=300),
    # without it processes would wait for the gradients of frozen weights
    model_wrapper_cfg=dict(find_unused_parameters=True))
