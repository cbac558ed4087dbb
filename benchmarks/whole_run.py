"""Time whole training runs of one network: mmagic's class and train.py against ours.

python benchmarks/whole_run.py --gan sngan --size 32 --channels 32 --batch-size 16
CUDA_VISIBLE_DEVICES= python benchmarks/whole_run.py --size 64 --rounds 3

Both train on the same images, in processes that alternate. mmagic's run is that of its own
tools/train.py: labels in place of priors, float32, its data set and pipeline. Ours is that of
tools/train.py with what configs/disp_biggan_folder.py says; the bank is built before. Patches of
this package, without which mmagic does not start here, act in both. The networks are the same but
for what takes a label or a prior, which is checked.

Images a second are those of the median logged interval; processor time is that of all processes.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from disp_plugin.upstream import apply_patches

apply_patches()

import mmagic  # noqa: E402
from mmagic.registry import MODELS  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.hub import get_config  # noqa: E402

import disp_plugin.register  # noqa: E402, F401

ROOT = Path(__file__).resolve().parent.parent
NUM_CLASSES = 10
PRIOR_SIZE = 64  # an encoder that costs nothing: gray pixels, D = 64 x 64
FIRST_ITERATION = 'Iter(train)'
# what takes a label or a prior, and what a norm makes of it
CONDITION = re.compile(r'proj_y|shared_embedding|_embedding|prior_projection|\.(gain|bias)\.')
RUN_PATCHED = (
    'import runpy, sys; from disp_plugin.upstream import apply_patches; apply_patches(); '
    "del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
)


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--gan', choices=['biggan', 'sngan', 'stylegan2'], default='biggan')
    parser.add_argument('--size', type=int, default=32)
    parser.add_argument('--channels', type=int, help="default: the config's")
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--iters', type=int, default=60, help='updates of the discriminator')
    parser.add_argument(
        '--interval', type=int, default=4, help='iterations timed as one: 4 hold one of G'
    )
    parser.add_argument('--skip', type=int, default=2, help='intervals of the start left out')
    parser.add_argument('--rounds', type=int, default=1)
    parser.add_argument('--num-images', type=int, default=500)
    parser.add_argument('--workers', type=int, default=2, help="of mmagic's data loader")
    parser.add_argument('--only', choices=['ours'], help='without mmagic; always so for stylegan2')
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], help='for ours, such as model.channels_last=False'
    )
    args = parser.parse_args(argv)
    # mmagic's StyleGAN2 has no labels to compare priors with
    args.only = 'ours' if args.gan == 'stylegan2' else args.only
    if args.iters // args.interval <= args.skip:
        parser.error('--iters leaves no interval after those that are left out')
    return args


def make_images(folder, num, size):
    """Write smooth images, each twice as large as the networks', in a folder for each class."""
    rng = np.random.default_rng(0)
    for index in range(num):
        file = folder / str(index % NUM_CLASSES) / f'{index:05d}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((2 * size,) * 2, Image.Resampling.BICUBIC).save(file)


def make_ours(args, folder):
    """Our config: the folder config, with the networks of another GAN where one is asked for."""
    is_stylegan2 = args.gan == 'stylegan2'
    name = 'stylegan2' if is_stylegan2 else 'biggan'
    cfg = Config.fromfile(str(ROOT / f'configs/disp_{name}_folder.py'))
    if args.gan == 'sngan':
        model = Config.fromfile(str(ROOT / 'configs/_base_/models/disp_sngan_128.py')).model
        for part in ('type', 'generator', 'discriminator'):
            cfg.model[part] = model[part]
    cfg.model.update(image_size=args.size, prior_dim=PRIOR_SIZE**2)
    if args.channels:
        width = {'channel_max' if is_stylegan2 else 'base_channels': args.channels}
        cfg.model.generator.update(width)
        cfg.model.discriminator.discriminator.update(width)
    cfg.encoder = dict(type='PixelEncoder', size=PRIOR_SIZE)
    cfg.train_dataloader.batch_size = args.batch_size
    cfg.train_dataloader.dataset.update(
        data_root=str(folder / 'images'), image_size=args.size, bank_file=str(folder / 'bank')
    )
    return cfg


def make_host(args, folder, ours):
    """mmagic's config: its runtime and data set, the network and the optimizers of ours."""
    cfg = get_config('mmagic::_base_/gen_default_runtime.py')
    model = ours.model
    name = model.type.removeprefix('DISP')
    generator = {k: v for k, v in model.generator.items() if k != 'prior_emb_dim'}
    disc = dict(model.discriminator.discriminator, input_scale=args.size, num_classes=NUM_CLASSES)
    generator.update(type=f'{name}Generator', output_scale=args.size, num_classes=NUM_CLASSES)
    cfg.model = dict(
        type=name,
        num_classes=NUM_CLASSES,
        noise_size=generator['noise_size'],
        data_preprocessor=dict(type='DataPreprocessor'),
        generator=generator,
        discriminator=disc,
        discriminator_steps=model.discriminator_steps,
        ema_config=dict(model.ema_config, type='ExponentialMovingAverage'),
    )
    adam = dict(optimizer=dict(type='Adam', lr=0.0002, betas=(0.0, 0.999)))
    cfg.optim_wrapper.update(generator=adam, discriminator=adam)
    pipeline = [
        dict(type='LoadImageFromFile', key='gt'),
        dict(type='Resize', scale=(args.size, args.size), keys=['gt'], backend='pillow'),
        dict(type='Flip', keys=['gt'], flip_ratio=0.5, direction='horizontal'),
        dict(type='PackInputs', keys=['gt']),
    ]
    cfg.train_dataloader = dict(
        batch_size=args.batch_size,
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
        sampler=dict(type='InfiniteSampler', shuffle=True),
        dataset=dict(
            type='BasicConditionalDataset', data_root=str(folder / 'images'), pipeline=pipeline
        ),
    )
    cfg.val_cfg = cfg.val_evaluator = cfg.test_cfg = cfg.test_evaluator = None
    return Config(cfg.to_dict())


def write_config(args, cfg, file):
    """Write a config with the number of iterations, and times of whole intervals in its log."""
    cfg.train_cfg.max_iters = args.iters
    for name in ('val_begin', 'val_interval'):
        cfg.train_cfg.pop(name, None)
    cfg.default_hooks.logger.interval = args.interval
    cfg.log_processor.window_size = args.interval
    cfg.dump(str(file))


def count_weights(cfg):
    """Count the weights of both networks, but for those of labels and priors."""
    model = MODELS.build(cfg.model)
    return [
        sum(
            value.numel()
            for name, value in getattr(model, part).named_parameters()
            if not CONDITION.search(name)
        )
        for part in ('generator', 'discriminator')
    ]


def run(args, command, work_dir):
    """Train in a process; return times, images a second and the peak of its memory."""
    own = {'PYTHONPATH': str(ROOT), 'PYTHONUNBUFFERED': '1'}
    env = {'OMP_NUM_THREADS': '1', **os.environ, **own}
    start = time.perf_counter()
    command = [sys.executable, *map(str, command), '--work-dir', str(work_dir)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
        cwd=work_dir.parent,
    )
    output, first = [], None
    for line in process.stdout:
        output.append(line)
        if first is None and FIRST_ITERATION in line:
            first = time.perf_counter() - start
    _, status, usage = os.wait4(process.pid, 0)
    file = next(work_dir.rglob('vis_data/scalars.json'), None)
    if status or file is None:
        sys.exit(f'{" ".join(command)} ended with {status}:\n{"".join(output[-30:])}')
    logged = [json.loads(line) for line in file.read_text().splitlines()]
    logged = [entry for entry in logged if 'time' in entry]
    seconds = statistics.median(entry['time'] for entry in logged[args.skip :])
    result = {
        'images_per_s': round(args.batch_size / seconds, 2),
        's_start': round(first - args.interval * logged[0]['time'], 1),
        's_total': round(time.perf_counter() - start, 1),
        's_processor': round(usage.ru_utime + usage.ru_stime, 1),
        'mib_rss': usage.ru_maxrss // 1024,
    }
    return {**result, 'mib_cuda': logged[-1]['memory']} if 'memory' in logged[-1] else result


def main(argv=None):
    args = parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder / 'images', args.num_images, args.size)
        ours = make_ours(args, folder)
        configs = {} if args.only else {'mmagic': make_host(args, folder, ours)}
        configs['ours'] = ours
        for kind, cfg in configs.items():
            write_config(args, cfg, folder / f'config_{kind}.py')
        counts = {kind: count_weights(cfg) for kind, cfg in configs.items()}
        if counts[next(iter(counts))] != counts['ours']:
            sys.exit(f'the networks differ in their weights (generator, discriminator): {counts}')
        theirs = Path(mmagic.__file__).parent / '.mim/tools/train.py'
        options = ['--cfg-options', *args.cfg_options] * bool(args.cfg_options)
        commands = {
            'mmagic': ['-c', RUN_PATCHED, theirs, folder / 'config_mmagic.py'],
            'ours': [ROOT / 'tools/train.py', folder / 'config_ours.py', *options],
        }
        bank = [sys.executable, ROOT / 'tools/build_prior_bank.py', folder / 'config_ours.py']
        env = {**os.environ, 'PYTHONPATH': str(ROOT)}
        subprocess.run(bank, check=True, env=env, stdout=subprocess.DEVNULL)
        runs = {kind: [] for kind in configs}
        for number in range(args.rounds):
            for kind in list(configs)[:: 1 if number % 2 else -1]:
                runs[kind].append(run(args, commands[kind], folder / f'{kind}_{number}'))
                print(f'round {number + 1}, {kind}: {runs[kind][-1]}', flush=True)
    medians = {
        kind: {key: statistics.median(run[key] for run in done) for key in done[0]}
        for kind, done in runs.items()
    }
    if not args.only:
        pairs = list(zip(runs['mmagic'], runs['ours'], strict=True))
        medians['ratio'] = {
            key: round(statistics.median(ours[key] / host[key] for host, ours in pairs), 3)
            for key in pairs[0][0]
        }
        print(f"ours to mmagic's: {medians['ratio']}")
    print(json.dumps({**vars(args), 'weights': counts['ours'], **medians}))


if __name__ == '__main__':
    main()
