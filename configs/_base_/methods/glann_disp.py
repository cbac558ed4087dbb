"""GLANN + DISP: a generator without discriminator reconstructs images from z = G_emb(C(x)).

Then IMLE learns where its latents z lie. The numbers are for 100 images.
"""

glann_disp = dict(
    model=dict(
        type='GLANN',
        discriminator=None,
        disc_losses=None,
        gen_losses=None,
        loss_config=None,
        discriminator_steps=1,
        perceptual=dict(
            type='PerceptualDistance', encoder=dict(type='TorchvisionEncoder', model='vgg16')),
        # three layers are the paper's; epochs, rate and noise are not stated in the paper, and are
        # those of yedidh/glann but for the epochs: its 50 are of 60,000 images
        sampler=dict(_delete_=True, type='IMLESampler', num_epochs=1000)),
    train_dataloader=dict(batch_size=25),  # not stated in the paper
    # the paper's 4000 epochs
    train_cfg=dict(max_iters=4000 * 4),
    # the generator's rate and G_emb's, ten times that, are not stated in the paper
    optim_wrapper=dict(
        _delete_=True,
        constructor='MultiOptimWrapperConstructor',
        generator=dict(
            optimizer=dict(type='Adam', lr=0.001, betas=(0.5, 0.999), fused=True),
            paramwise_cfg=dict(custom_keys=dict(prior_projection=dict(lr_mult=10.0))))))
