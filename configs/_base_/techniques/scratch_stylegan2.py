"""From scratch where a StyleGAN2 config starts from FFHQ.

The paper starts from FFHQ, but its DiffAugment rows at 256 px have the numbers that DiffAugment's paper
gives for training from scratch.
"""

scratch_stylegan2 = dict(model=dict(pretrained=None))
