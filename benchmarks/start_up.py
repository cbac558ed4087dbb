"""Processor time that commands take before their work, against ``import torch, torchvision, mmcv``.

All run in alternating processes, on a few images of noise: a sampling of 16 images, a training up
to its first iteration, and what is told without any work. ``--full`` also trains with all of mmagic
imported (``DISP_PLUGIN_FULL_MMAGIC``), which needs the packages of its full registration.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
FIRST_ITERATION = 'Iter(train)'
REFERENCE = 'import torch, torchvision, mmcv'


def make_images(folder, num=100):
    """Write small images of noise: what they show does not matter here."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for split in ('train', 'val'):
        keys = [f'{split}_{index:03d}.png' for index in range(num)]
        for key in keys:
            Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / key)
        (folder / f'{split}.txt').write_text('\n'.join(keys) + '\n')


def make_commands(args, folder):
    """List the commands: name -> arguments of Python."""
    tools = ROOT / 'tools'
    options = [f'data_root={folder / "images"}', f'encoder.checkpoint={folder / "encoder.pth"}']
    train = [tools / 'train.py', ROOT / args.config, '--work-dir', folder / 'run', '--overwrite']
    train += ['--cfg-options', *options, 'max_iters=1', 'default_hooks.logger.interval=1']
    sample = [tools / 'sample.py', folder / 'trained', '--num', 16, '--out', folder / 'samples']
    return {
        'reference': ['-c', REFERENCE],
        'sample': [*sample, '--overwrite'],
        'train': train,
        'help': ['-m', 'disp_plugin', '--help'],
        'help of train': [tools / 'train.py', '--help'],
        'unknown option': [tools / 'train.py', 'x.py', '--unknown'],
        'missing config': [tools / 'train.py', 'x.py'],
        'missing checkpoint': [tools / 'sample.py', 'x.pth'],
    }


def measure(args, command, folder, until=None, full=False):
    """Run a command, or start it and stop it once it prints ``until``; return processor seconds."""
    env = {**os.environ, 'PYTHONUNBUFFERED': '1', 'PYTHONPATH': str(ROOT)}
    env |= {'DISP_PLUGIN_FULL_MMAGIC': '1'} if full else {}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(
        [str(part) for part in (args.python, *command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
        cwd=folder,
    )
    output = []
    for line in process.stdout:
        output.append(line)
        if until is not None and until in line:
            process.kill()
            break
    else:
        if until is not None:
            sys.exit(f'the run ended before {until!r}:\n{"".join(output[-30:])}')
    process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(getattr(after, kind) - getattr(before, kind) for kind in ('ru_utime', 'ru_stime'))


def prepare(args, folder):
    """Make images, an encoder, a bank and a checkpoint; warm the file cache."""
    make_images(folder / 'images')
    pretrain = [ROOT / 'tools/pretrain_encoder.py', folder / 'images', folder / 'encoder.pth']
    pretrain += ['--arch', 'timm/resnet10t', '--size', 32, '--epochs', 1, '--arch-kwargs']
    pretrain += ['{"channels": [16, 32, 64, 128], "stem_width": 8}']
    train = make_commands(args, folder)['train']
    work_dir = train.index('--work-dir') + 1
    for command in (pretrain, [*train[:work_dir], folder / 'trained', *train[work_dir + 1 :]]):
        measure(args, command, folder)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--python', default=sys.executable, help='of the environment to measure')
    parser.add_argument('--config', default='configs/disp_sngan_digits.py')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--full', action='store_true', help='train with all of mmagic, too')
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(args, folder)
        commands = make_commands(args, folder)
        if args.full:
            commands['train, all of mmagic'] = commands['train']
        times = {name: [] for name in commands}
        for number in range(args.rounds):
            for name in list(commands) if number % 2 else reversed(commands):
                until = FIRST_ITERATION if name.startswith('train') else None
                seconds = measure(args, commands[name], folder, until, 'all of' in name)
                times[name].append(seconds)
    reference = statistics.median(times['reference'])
    for name, values in times.items():
        seconds = statistics.median(values)
        result = {'command': name, 's': round(seconds, 2), 'ratio': round(seconds / reference, 3)}
        print(json.dumps(result))


if __name__ == '__main__':
    main()
