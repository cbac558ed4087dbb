"""StyleGAN2, pretrained on FFHQ, fine-tuned on about 100 images: 20,000 steps."""

_base_ = '../disp_runtime.py'

batch_size = 16  # not stated in the paper
max_iters = 20000  # not stated in the paper

train_cfg = dict(_delete_=True, type='ResumableTrainLoop', max_iters=max_iters)

# mmagic's for StyleGAN2: lazy regularization takes its share off rate and betas
optim_wrapper = dict(
    generator=dict(
        optimizer=dict(type='Adam', lr=0.002 * 4 / 5, betas=(0.0, 0.99**(4 / 5)))),
    discriminator=dict(
        optimizer=dict(type='Adam', lr=0.002 * 16 / 17, betas=(0.0, 0.99**(16 / 17)))))

# about 500 MB each
default_hooks = dict(checkpoint=dict(interval=1000, max_keep_ckpts=5))
