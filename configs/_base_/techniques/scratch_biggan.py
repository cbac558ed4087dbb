"""The paper's BigGAN with DiffAugment on some thousand images: from scratch, and for longer."""

scratch_biggan = dict(
    model=dict(pretrained=None, discriminator_steps=4),  # not stated in the paper
    train_dataloader=dict(batch_size=32),  # not stated in the paper
    # batches for the discriminator: 30,000 steps of the generator (not stated in the paper) x 4
    train_cfg=dict(max_iters=30000 * 4))
