"""DiffAugment's schedule for BigGAN on some thousand images: from scratch.

That it has a batch and D steps of its own is the paper's; their numbers, and from scratch as with its
DiffAugment on 100 images, are not stated in the paper.
"""

scratch_biggan = dict(
    model=dict(
        pretrained=None,
        discriminator_steps=4,  # not stated in the paper
        # as in disp_biggan_128.py; what starts from mmagic's weights has another
        discriminator=dict(discriminator=dict(act_cfg=dict(inplace=False)))),
    train_dataloader=dict(batch_size=32),  # not stated in the paper
    # batches for the discriminator: 30,000 steps of the generator (not stated in the paper) x 4
    train_cfg=dict(max_iters=30000 * 4))
