"""R3GAN's loss: a real image against the fake one of its own prior, with R1 and R2.

Huang et al. 2024. The weights are gamma / 2 of github.com/brownvc/R3GAN (train.py) for FFHQ at 64 px,
gamma 2. It grows with the size of images: 0.05 (CIFAR-10) or 0.5 (ImageNet) at 32 px, 150 (FFHQ) at
256 px. It falls to a tenth over 20 million images, here counted in batches of 256.
"""

r3gan = dict(
    model=dict(
        loss='relativistic',
        disc_losses=dict(
            r1=dict(
                type='R1GradientPenalty',
                images='real',
                loss_weight=2.0 / 2,
                interval=1,
                final_weight=0.2 / 2,
                decay_steps=20000000 // 256),
            r2=dict(
                type='R1GradientPenalty',
                images='fake',
                loss_weight=2.0 / 2,
                interval=1,
                final_weight=0.2 / 2,
                decay_steps=20000000 // 256)),
        # StyleGAN2's own
        gen_losses=dict(path_length=None)))
