"""Time a training iteration with priors against mmagic's with class labels, pair by pair.

Both models see the same images in the same process; each pair takes one iteration of each, in an
order that alternates, and the median of the ratios is what counts. Labels are patched, without
which the host's class-conditional discriminator would compute (N, N) scores. The look-up of priors
is timed on a bank in a file, as a data loader's worker does it.

StyleGAN2 is compared with mmagic's unconditional one, whose networks are mmagic's own with at most
``--channels`` channels (512 is mmagic's width), and each timing holds 16 iterations: one with R1,
four with path-length regularization.

With ``--technique`` the GAN with priors is timed against itself: with a technique for few images,
and without.
"""

import argparse
import copy
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from disp_plugin.upstream import apply_patches

apply_patches()

from mmagic.registry import MODELS  # noqa: E402
from mmagic.structures import DataSample  # noqa: E402
from mmengine.logging import MessageHub  # noqa: E402
from mmengine.optim import OptimWrapper, OptimWrapperDict  # noqa: E402

import disp_plugin.register  # noqa: E402, F401
from disp_plugin.priors import LoadPrior, PriorBank  # noqa: E402

NUM_CLASSES = 10
KINDS = {'biggan': 'BigGAN', 'sngan': 'SNGAN', 'stylegan2': 'StyleGAN2'}
# What a technique adds to the discriminator, and to the losses of the GAN.
TECHNIQUES = {
    'diff_augment': (dict(augmentation=dict(type='DiffAugment')), {}),
    'adaptive_augment': (
        dict(augmentation=dict(type='AdaptiveAugment', augment_initial_p=0.5)),
        {},
    ),
    'consistency': (
        {},
        dict(
            consistency=dict(
                type='ConsistencyRegularization',
                augmentation=dict(type='DiffAugment', policy='flip,translation'),
            )
        ),
    ),
    'freeze_d': (dict(freeze=dict(type='FreezeD', blocks=2)), {}),
}
STYLEGAN2_CYCLE = 16


def make_configs(args):
    """A DISP GAN and mmagic's own with the same sizes: class-conditional where it can be."""
    kind = KINDS[args.gan]
    if args.gan == 'stylegan2':
        gen = dict(out_size=args.size, channel_max=args.channels)
        disc = dict(
            type='SizedStyleGAN2Discriminator', in_size=args.size, channel_max=args.channels
        )
        host_gen = dict(
            gen, type='DISPStyleGAN2Generator', prior_dim=0, update_mean_latent_with_ema=False
        )
        host = {}
        options = dict(
            loss_config=dict(
                r1_loss_weight=80.0,
                r1_interval=STYLEGAN2_CYCLE,
                norm_mode='HWC',
                g_reg_weight=8.0,
                g_reg_interval=4,
            )
        )
    else:
        norm = dict(sn_style='torch') if kind == 'BigGAN' else dict(with_spectral_norm=True)
        width = dict(base_channels=args.channels, **norm)
        gen = dict(output_scale=args.size, noise_size=120, **width)
        name = 'BigGANDiscriminator' if kind == 'BigGAN' else 'ProjDiscriminator'
        disc = dict(type=name, input_scale=args.size, **width)
        host_gen = dict(gen, type=f'{kind}Generator')
        host = dict(num_classes=NUM_CLASSES, noise_size=120)
        options = dict(discriminator_steps=args.disc_steps)
    options.update(
        data_preprocessor=dict(type='DataPreprocessor'),
        ema_config=dict(type='ExponentialMovingAverage'),
    )
    disp = dict(
        type=f'DISP{kind}',
        prior_dim=args.prior_dim,
        generator=dict(gen, type=f'DISP{kind}Generator'),
        discriminator=dict(
            type='PriorProjectionDiscriminator',
            equalized_lr=args.gan == 'stylegan2',
            discriminator=disc,
        ),
        **options,
    )
    return disp, dict(type=kind, generator=host_gen, discriminator=disc, **host, **options)


def build_pair(args):
    """Build both GANs by their names, and their optimizers."""
    disp, host = make_configs(args)
    pair = dict(disp=disp, host=host)
    if args.technique:
        changes, losses = TECHNIQUES[args.technique]
        extended = copy.deepcopy(disp)
        extended['discriminator'].update(changes)
        extended['disc_losses'] = losses
        pair = {'with': extended, 'without': disp}
    models = {}
    for name, config in pair.items():
        torch.manual_seed(args.seed)
        model = MODELS.build(config).to(args.device).train()
        wrappers = OptimWrapperDict(
            **{
                part: OptimWrapper(
                    torch.optim.Adam(getattr(model, part).parameters(), 2e-4, betas=(0.0, 0.999))
                )
                for part in ('generator', 'discriminator')
            }
        )
        models[name] = (model, wrappers)
    return models


def make_batch(args):
    """Make a batch as a data loader hands it over: images, priors and labels."""
    samples, images = [], []
    for index in range(args.batch_size):
        sample = DataSample(gt_prior=torch.rand(args.prior_dim))
        sample.gt_img = torch.randint(0, 256, (3, args.size, args.size), dtype=torch.uint8)
        sample.set_gt_label(index % NUM_CLASSES)
        samples.append(sample)
        images.append(sample.gt_img)
    return dict(inputs=dict(img=images), data_samples=samples)


def time_step(args, model, wrappers, batch, cycle):
    """Take the iterations of one update of the generator, or of one cycle of regularization."""
    iterations = STYLEGAN2_CYCLE if args.gan == 'stylegan2' else args.disc_steps
    start = time.perf_counter()
    for step in range(iterations):
        MessageHub.get_current_instance().update_info('iter', cycle * iterations + step)
        model.train_step(batch, wrappers)
    if args.device.startswith('cuda'):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def time_lookup(args, num_images=10_000, num_batches=50):
    """Time the look-up of a batch's priors, one by one as the pipeline does it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'bank.safetensors'
        keys = [f'images/{index:06d}.png' for index in range(num_images)]
        rng = np.random.default_rng(args.seed)
        priors = rng.standard_normal((num_images, 1, args.prior_dim), dtype=np.float32)
        PriorBank(keys, priors).save(file)
        transform = LoadPrior(bank_file=str(file))
        rows = rng.integers(0, num_images, (num_batches, args.batch_size))
        transform({'image_key': keys[0]})
        start = time.perf_counter()
        for batch in rows:
            for row in batch:
                transform({'image_key': keys[row]})
        return (time.perf_counter() - start) / num_batches


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--gan', choices=KINDS, default='biggan')
    parser.add_argument('--technique', choices=TECHNIQUES)
    parser.add_argument('--size', type=int, default=32)
    parser.add_argument('--channels', type=int, default=32)
    parser.add_argument('--batch-size', type=int, default=25)
    parser.add_argument('--disc-steps', type=int, default=1)
    parser.add_argument('--prior-dim', type=int, default=4096)
    parser.add_argument('--pairs', type=int, default=30)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = parser.parse_args(argv)
    models, batch = build_pair(args), make_batch(args)
    for warm_up in range(1 if args.gan == 'stylegan2' else 3):
        for model, wrappers in models.values():
            time_step(args, model, wrappers, batch, warm_up)
    times = {name: [] for name in models}
    first, second = models
    for pair in range(args.pairs):
        for name in (first, second) if pair % 2 else (second, first):
            times[name].append(time_step(args, *models[name], batch, pair + 3))
    ratio = statistics.median(a / b for a, b in zip(*times.values(), strict=True))
    result = {
        **vars(args),
        'torch': torch.__version__,
        'threads': torch.get_num_threads(),
        **{f'ms_{name}': round(statistics.median(times[name]) * 1e3, 2) for name in models},
        'ratio': round(ratio, 4),
    }
    if not args.technique:
        lookup = time_lookup(args) * args.disc_steps
        result['ms_lookup'] = round(lookup * 1e3, 3)
        result['lookup_share'] = round(lookup / statistics.median(times['disp']), 5)
    print(json.dumps(result))


if __name__ == '__main__':
    main()
