"""The SNGAN of 16 px at half the width, for a matrix of many runs on a CPU.

Nothing here is the paper's.
"""

_base_ = './disp_sngan_16.py'

model = dict(
    generator=dict(base_channels=16), discriminator=dict(discriminator=dict(base_channels=16)))
