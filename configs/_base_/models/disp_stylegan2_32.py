"""DISP on StyleGAN2 at 32 px, with the numbers of DiffAugment's code for CIFAR.

The paper names that code, https://github.com/mit-han-lab/data-efficient-gans; the numbers are the
defaults of its DiffAugment-stylegan2/run_cifar.py, training_loop.py and loss.py.
"""

_base_ = './disp_stylegan2_256.py'

model = dict(
    image_size=32,
    # 128 channels at 32 px, 256 at 16 px, 512 below
    generator=dict(channel_base=4096),
    discriminator=dict(discriminator=dict(channel_base=4096)),
    # gamma 0.1, at every step and on what D sees; no path length
    disc_losses=dict(r1=dict(loss_weight=0.1 / 2, interval=1, on_augmented=True)),
    gen_losses=dict(path_length=None),
    # halved over 1,000,000 images of a batch of 32, from the 1,000,000th on
    ema_config=dict(momentum=1 - 0.5**(32 / 1000000), start_iter=1000000 // 32))
