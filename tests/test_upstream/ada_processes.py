"""Run by each of two processes: mmagic's GANs with ADA; see test_adaptive_augmentation.py."""

import sys

import torch

torch.set_num_threads(1)

from disp_plugin.upstream import apply_patches  # noqa: E402

apply_patches()

from mmagic.models.editors.stylegan2 import StyleGAN2  # noqa: E402
from mmagic.models.editors.stylegan2.stylegan2_discriminator import ADAAug  # noqa: E402
from mmagic.registry import MODELS  # noqa: E402
from mmagic.structures import DataSample  # noqa: E402
from mmengine.dist import all_gather_object, get_rank, init_dist  # noqa: E402
from mmengine.logging import MessageHub  # noqa: E402
from mmengine.model import MMSeparateDistributedDataParallel  # noqa: E402
from mmengine.optim import OptimWrapper, OptimWrapperDict  # noqa: E402

import disp_plugin.register  # noqa: E402, F401
from disp_plugin.distributed import leave_group  # noqa: E402

CONTROLLER = dict(
    aug_pipeline=dict(xflip=1, rotate=1, brightness=1),
    update_interval=2,
    augment_initial_p=0.25,
    ada_target=-2.0,  # no mean of signs is below it: p rises with every update
    ada_kimg=0.1,
)


def stylegan2():
    """mmagic's network at 8 px, R1 through the augmentation in the first iteration."""
    return dict(
        type='StyleGAN2',
        generator=dict(type='StyleGAN2Generator', out_size=8, style_channels=16, num_mlps=1),
        discriminator=dict(
            type='ADAStyleGAN2Discriminator', in_size=8, data_aug=dict(type='ADAAug', **CONTROLLER)
        ),
        data_preprocessor=dict(type='DataPreprocessor'),
        discriminator_steps=99,
    )


def sngan():
    """mmagic's class-conditional network at 32 px, as small as it can be."""
    return dict(
        type='RegularizedSNGAN',
        num_classes=2,
        noise_size=8,
        generator=dict(type='SNGANGenerator', output_scale=32, base_channels=2, noise_size=8),
        discriminator=dict(
            type='DiscriminatorWrapper',
            discriminator=dict(type='ProjDiscriminator', input_scale=32, base_channels=2),
            augmentation=dict(type='AdaptiveAugment', **CONTROLLER),
        ),
        data_preprocessor=dict(type='DataPreprocessor'),
        discriminator_steps=99,
    )


def build(config):
    """Build a GAN as a distributed runner does."""
    torch.manual_seed(0)
    model = MODELS.build(config)
    optimizer = torch.optim.SGD(model.discriminator.parameters(), 1e-4)
    wrappers = OptimWrapperDict(discriminator=OptimWrapper(optimizer))
    return MMSeparateDistributedDataParallel(model), wrappers


def train(config, num_iters):
    """Train; give p, the counts and those of this process after each iteration."""
    model, wrappers = build(config)
    gan = model.module
    scores = []

    size = 8 if config['type'] == 'StyleGAN2' else 32

    def keep_scores(*args, **kwargs):
        log_vars = type(gan).train_discriminator(gan, *args, **kwargs)
        scores.append(MessageHub.get_current_instance().get_info('disc_pred_real').detach())
        return log_vars

    gan.train_discriminator = keep_scores
    torch.manual_seed(10 + get_rank())
    found = []
    for iteration in range(num_iters):
        images = torch.randint(0, 256, (1 + 2 * get_rank(), 3, size, size), dtype=torch.uint8)
        samples = [DataSample(gt_img=image) for image in images]
        for sample in samples:
            sample.set_gt_label(get_rank())
        MessageHub.get_current_instance().update_info('iter', iteration)
        log_vars = model.train_step(
            dict(inputs=dict(img=list(images)), data_samples=samples), wrappers
        )
        (ada_aug,) = (m for m in gan.discriminator.modules() if isinstance(m, ADAAug))
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
    """Train with the patch, then with the training step as mmagic has it."""
    init_dist('pytorch', backend='gloo')
    found = {
        'stylegan2': all_gather_object(train(stylegan2(), 4)),
        'sngan': all_gather_object(train(sngan(), 4)),
    }
    StyleGAN2.train_step = StyleGAN2.train_step.__wrapped__
    found['stock'] = all_gather_object(train(stylegan2(), 2))
    if get_rank() == 0:
        torch.save(found, file)


if __name__ == '__main__':
    main(sys.argv[1])
    leave_group()
