"""Run by each of two processes: a stock StyleGAN2 with ADA; see test_ada_processes.py."""

import sys

import torch

torch.set_num_threads(1)

from disp_plugin.upstream import mend  # noqa: E402

mend()

from mmagic.models.editors.stylegan2 import StyleGAN2  # noqa: E402
from mmagic.registry import MODELS  # noqa: E402
from mmagic.structures import DataSample  # noqa: E402
from mmengine.dist import all_gather_object, get_rank, init_dist  # noqa: E402
from mmengine.logging import MessageHub  # noqa: E402
from mmengine.model import MMSeparateDistributedDataParallel  # noqa: E402
from mmengine.optim import OptimWrapper, OptimWrapperDict  # noqa: E402

from disp_plugin.running.leave_group import leave_group  # noqa: E402


def build():
    """Build mmagic's network at 8 px, R1 through the augmentation in the first iteration."""
    torch.manual_seed(0)
    augmentation = dict(
        type='ADAAug',
        aug_pipeline=dict(xflip=1, rotate=1, brightness=1),
        update_interval=2,
        augment_initial_p=0.25,
        ada_target=-2.0,  # no mean of signs is below it: p rises with every update
        ada_kimg=0.1,
    )
    model = dict(
        type='StyleGAN2',
        generator=dict(type='StyleGAN2Generator', out_size=8, style_channels=16, num_mlps=1),
        discriminator=dict(type='ADAStyleGAN2Discriminator', in_size=8, data_aug=augmentation),
        data_preprocessor=dict(type='DataPreprocessor'),
        discriminator_steps=99,
    )
    model = MODELS.build(model)
    optimizer = torch.optim.SGD(model.discriminator.parameters(), 1e-4)
    wrappers = OptimWrapperDict(discriminator=OptimWrapper(optimizer))
    return MMSeparateDistributedDataParallel(model), wrappers


def train(num_iters):
    """Train; give p, the counts and their share of this process after each iteration."""
    model, wrappers = build()
    gan = model.module
    scores = []

    def keep_scores(*args):
        log_vars = StyleGAN2.train_discriminator(gan, *args)
        scores.append(MessageHub.get_current_instance().get_info('disc_pred_real').detach())
        return log_vars

    gan.train_discriminator = keep_scores
    torch.manual_seed(10 + get_rank())
    found = []
    for iteration in range(num_iters):
        images = torch.randint(0, 256, (1 + 2 * get_rank(), 3, 8, 8), dtype=torch.uint8)
        samples = [DataSample(gt_img=image) for image in images]
        MessageHub.get_current_instance().update_info('iter', iteration)
        log_vars = model.train_step(
            dict(inputs=dict(img=list(images)), data_samples=samples), wrappers
        )
        (ada_aug,) = (m for m in gan.discriminator.modules() if type(m).__name__ == 'ADAAug')
        logged = log_vars.get('augment')
        found.append(
            {
                'p': ada_aug.aug_pipeline.p.item(),
                'counts': ada_aug.log_buffer.tolist(),
                'own signs': scores[-1].sign().sum().item(),
                'logged': None if logged is None else logged.item(),
            }
        )
    return found


def main(file):
    """Train with the repair, then with the training step as mmagic has it."""
    init_dist('pytorch', backend='gloo')
    mended = all_gather_object(train(4))
    StyleGAN2.train_step = StyleGAN2.train_step.__wrapped__
    stock = all_gather_object(train(2))
    if get_rank() == 0:
        torch.save({'mended': mended, 'stock': stock}, file)


if __name__ == '__main__':
    main(sys.argv[1])
    leave_group()
