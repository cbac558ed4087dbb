"""Self-modulated BigGAN on Places2.5k at 128 px, fine-tuned from ImageNet behind a miner (MineGAN).

The paper's MineGAN; disp_biggan_places2.5k_minegan.py adds DISP.
"""

_base_ = 'biggan_places2.5k_selfmod.py'

# 300 iterations in which the miner learns alone are those of MineGAN's code for BigGAN (train.py);
# not stated in the paper
model = dict(
    generator=dict(
        type='MinedGenerator', generator='DISPBigGANGenerator', mining_iters=300))

# no process waits for the gradients of what is frozen meanwhile
model_wrapper_cfg = dict(find_unused_parameters=True)
