"""BigGAN, pretrained on ImageNet, fine-tuned on some thousand images (TransferGAN in the paper)."""

_base_ = '../disp_runtime.py'

batch_size = 256  # not stated in the paper
# Fewer steps than for DiffAugment and FreezeD is the paper's; how many: not stated in the paper
max_iters = 5000

train_cfg = dict(_delete_=True, type='ResumableTrainLoop', max_iters=max_iters)

# the rate is not stated in the paper, nor are the betas
optim_wrapper = dict(
    generator=dict(optimizer=dict(type='Adam', lr=0.0002, betas=(0.0, 0.999))),
    discriminator=dict(optimizer=dict(type='Adam', lr=0.0002, betas=(0.0, 0.999))))

# about 2 GB each
default_hooks = dict(checkpoint=dict(interval=1000, max_keep_ckpts=5))
