"""The unconditional baseline: no prior anywhere.

SNGAN and BigGAN are then self-modulated as published (arXiv 1810.01365: all of the noise, through a
hidden layer of 32), the paper's baseline for limited and large data; StyleGAN2 is mmagic's own.
"""

unconditional = dict(
    encoder=None,
    model=dict(prior_dim=0, prior_norm='none', prior_length=None, sampler=None),
    train_dataloader=dict(dataset=dict(bank_file=None)))
