"""LeCam regularization of the discriminator's scores, for the hinge loss."""

# weight and start of the published runs of BigGAN (github.com/google/lecam-gan); StyleGAN2's loss
# takes a loss_weight of 3e-7 there, and decay=0.99
lecam = dict(
    model=dict(
        disc_losses=dict(lecam=dict(type='LeCamLoss', loss_weight=0.3, start=1000, decay=0.9))))
