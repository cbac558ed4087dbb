"""Time from the command to the first training iteration, slim import against all of mmagic.

Both run the same command on the same few images, in alternating processes; what differs is
``DISP_PLUGIN_FULL_MMAGIC``. The environment needs the packages of mmagic's full registration.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
FIRST_ITERATION = 'Iter(train)'


def make_images(folder, num=100):
    """Write small images of noise: what they show does not matter here."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    keys = [f'{index:03d}.png' for index in range(num)]
    for key in keys:
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / key)
    (folder / 'train.txt').write_text('\n'.join(keys) + '\n')


def time_first_iteration(args, folder, full):
    """Start a training run, and stop it as soon as it logs its first iteration."""
    options = {
        'data_root': folder / 'images',
        'train_cfg.max_iters': 1,
        'default_hooks.logger.interval': 1,
    }
    command = [args.python, ROOT / 'tools/train.py', ROOT / args.config]
    command += ['--method', 'per_image', '--work-dir', folder / 'work_dir', '--cfg-options']
    command += [f'{key}={value}' for key, value in options.items()]
    env = {**os.environ, 'DISP_PLUGIN_FULL_MMAGIC': str(int(full)), 'PYTHONUNBUFFERED': '1'}
    env['PYTHONPATH'] = str(ROOT)
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
        cwd=folder,
    )
    output = []
    for line in process.stdout:
        output.append(line)
        if FIRST_ITERATION in line:
            seconds = time.perf_counter() - start
            process.kill()
            process.wait()
            return seconds
    sys.exit(f'the run ended before its first iteration:\n{"".join(output[-30:])}')


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--python', default=sys.executable, help='of the environment to measure')
    parser.add_argument('--config', default='configs/disp_biggan_digits.py')
    parser.add_argument('--pairs', type=int, default=5)
    args = parser.parse_args(argv)
    times = {'slim': [], 'full': []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder / 'images')
        for full in (False, True):  # builds the bank and warms the file cache
            time_first_iteration(args, folder, full)
        for pair in range(args.pairs):
            for kind in ('slim', 'full') if pair % 2 else ('full', 'slim'):
                times[kind].append(time_first_iteration(args, folder, kind == 'full'))
    medians = {kind: statistics.median(values) for kind, values in times.items()}
    result = {
        'config': args.config,
        'pairs': args.pairs,
        's_slim': round(medians['slim'], 2),
        's_full': round(medians['full'], 2),
        'ratio': round(medians['slim'] / medians['full'], 3),
    }
    print(json.dumps(result))


if __name__ == '__main__':
    main()
