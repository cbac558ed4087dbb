"""GLANN: as GLANN + DISP, but each image has a latent of its own, which is learned.

The paper reports it as BSA*. The numbers are those of yedidh/glann (500 epochs, rates of 0.001 and
0.01 that are halved every 50), but for its batches of 128 images. They are for 100 images.
"""

_base_ = ['./per_image.py', './glann_disp.py']

glann = dict(
    _base_.glann_disp,
    encoder=None,
    model={**_base_.per_image['model'], **_base_.glann_disp['model']},
    # one latent cannot be an image and its mirror image
    train_dataloader=dict(batch_size=25, dataset=dict(bank_file=None, flip=False)),
    train_cfg=dict(max_iters=500 * 4),
    param_scheduler=dict(
        generator=dict(type='StepLR', by_epoch=False, step_size=50 * 4, gamma=0.5)))
