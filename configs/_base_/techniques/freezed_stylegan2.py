"""FreezeD for StyleGAN2 at 256 px with a batch of its own: freezed.py, and what the batch sets."""

_base_ = './freezed.py'

freezed_stylegan2 = dict(
    model=dict(
        _base_.freezed.model,
        # halved over 10,000 images, as in disp_stylegan2_256.py, of this batch
        ema_config=dict(momentum=1 - 0.5**(8 / 10000))),
    # That it is another than DiffAugment's is the paper's; 8 is not stated in it.
    train_dataloader=dict(batch_size=8))
