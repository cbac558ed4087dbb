"""DISP-BigGAN on CUB6k at 128 px, fine-tuned from ImageNet behind a miner (MineGAN)."""

_base_ = 'disp_biggan_cub6k.py'

# 300 iterations in which the miner learns alone are those of MineGAN's code for BigGAN (train.py);
# not stated in the paper
model = dict(
    generator=dict(
        type='MinedGenerator', generator='DISPBigGANGenerator', mining_iters=300))

# no process waits for the gradients of what is frozen meanwhile
model_wrapper_cfg = dict(find_unused_parameters=True)
