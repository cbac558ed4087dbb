"""Give every tool bad command lines, configs and folders; count those told in one good line.

python benchmarks/bad_input.py
python benchmarks/bad_input.py --num 20 --seed 1

Cases are made by rule: of each field a value that is missing, of another type, out of range, or
misspelt. A good answer is exit status 2 and one line on stderr that names the field and the value
(where there is one), with no traceback. Everything runs in this process, on small random images.
"""

import argparse
import contextlib
import importlib.util
import io
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
CONFIG = str(ROOT / 'configs/disp_biggan_folder.py')


class Case(NamedTuple):
    """One bad input: its kind, the tool, its arguments, and words that the answer must have."""

    kind: str
    tool: str
    arguments: list[str]
    words: list[str]


NUMBERS = {
    'batch_size': 1,
    'max_iters': 1,
    'image_size': 1,
    'prior_dim': 0,
    'train_dataloader.num_workers': 0,
    'model.discriminator_steps': 1,
    'model.generator_steps': 1,
    'model.generator.noise_size': 1,
    'model.generator.base_channels': 1,
    'model.discriminator.discriminator.base_channels': 1,
    'default_hooks.checkpoint.interval': 1,
    'default_hooks.logger.interval': 1,
    'default_hooks.visualization.interval': 1,
    'default_hooks.visualization.n_samples': 1,
    'optim_wrapper.generator.optimizer.lr': 0,
    'optim_wrapper.discriminator.optimizer.lr': 0,
}
"""Number of a config -> its least value."""

CLASSES = (
    *('encoder', 'model', 'model.generator', 'model.discriminator', 'model.sampler'),
    *('model.discriminator.discriminator', 'train_dataloader.dataset', 'train_cfg'),
    *('train_dataloader.sampler', 'optim_wrapper.generator.optimizer', 'visualizer'),
    *('default_hooks.checkpoint', 'default_hooks.logger', 'custom_hooks.0'),
)
"""Parts of a config that have a type."""

CHOICES = ('model.loss', 'model.prior_norm', 'train_dataloader.dataset.crop')

FLAGS = {
    'sample': {'num': 1, 'batch-size': 1, 'seed': 0, 'nrow': 1},
    'interpolate': {'num': 1, 'steps': 2, 'batch-size': 1, 'seed': 0},
    'invert': {'steps': 0, 'batch-size': 1, 'seed': 0},
    'evaluate': {'batch-size': 1, 'num-images': 2, 'seed': 0},
    'pretrain_encoder': {'size': 8, 'epochs': 1, 'batch-size': 2, 'seed': 0, 'workers': 0},
    'build_prior_bank': {'image-size': 1, 'batch-size': 1, 'workers': 0},
    'report': {'seed': 0},
    'compare': {'max-iters': 1, 'jobs': 1},
    'train': {'seed': 0},
}
"""Whole numbers of each tool's command line -> their least values."""


def make_cases(folder: Path) -> list[Case]:
    """Make every case by rule."""
    photos = folder / 'photos'
    rng = np.random.default_rng(0)
    photos.mkdir(parents=True, exist_ok=True)
    (folder / 'empty').mkdir(exist_ok=True)
    for index in range(8):
        pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f'{index}.png')
    (folder / 'text.pth').write_text('this is no checkpoint')
    return [*of_options(folder, photos), *of_flags(folder, photos), *of_files(folder, photos)]


def _train(folder: Path, photos: Path, *options: str) -> list[str]:
    given = [f'data_root={photos}', 'train_dataloader.num_workers=0', 'max_iters=1']
    given += ['train_dataloader.persistent_workers=False']
    given += ['prior_dim=4096']
    return [CONFIG, '--work-dir', str(folder / 'run'), '--cfg-options', *given, *options]


def of_options(folder: Path, photos: Path) -> list[Case]:
    """Bad ``--cfg-options`` of training."""
    cases = []

    def add(kind: str, option: str, *words: str) -> None:
        cases.append(Case(kind, 'train', _train(folder, photos, option), list(words)))

    for name, least in NUMBERS.items():
        last = name.rpartition('.')[2]
        add('wrong type', f'{name}=many', last, 'many')
        add('wrong type', f'{name}=[1,2]', last, '[1, 2]')
        add('out of range', f'{name}={least - 1}', last, str(least - 1))
        add('out of range', f'{name}=nan', last, 'nan')
        parent = name.rpartition('.')[0]
        typo = f'{parent}.{last[:-2]}{last[-1]}' if parent else last[:-2] + last[-1]
        add('misspelt', f'{typo}={least}', typo.rpartition('.')[2], 'did you mean')
    for name in CLASSES:
        add('misspelt', f'{name}.type=NoSuchClas', f'{name}.type', 'NoSuchClas')
        if name != 'default_hooks.checkpoint':  # which hands any argument on
            add('misspelt', f'{name}.no_such_field=1', 'no_such_field')
    for name in CHOICES:
        add('misspelt', f'{name}=nosuch', name.rpartition('.')[2], 'nosuch')
        add('wrong type', f'{name}=5', name.rpartition('.')[2], '5')
    for size in (20, 33, 48, 96, 100, 1000):
        add('out of range', f'image_size={size}', 'image_size', str(size))
    for name in ('Wandb', 'Tensorboard'):
        if importlib.util.find_spec(name.lower()) is None:
            backend = f"visualizer.vis_backends=[dict(type='{name}VisBackend')]"
            add('missing', backend, 'vis_backends', f'pip install {name.lower()}')
    for name in ('flip',):
        add('wrong type', f'{name}=often', name, 'often')
    for root in ('nowhere', '100', '1e5', 'None', 'true', '~/nowhere'):
        words = [Path(root).expanduser().as_posix()]
        add('missing', f'data_root={root}', 'data_root', *words)
    add('missing', f'data_root={folder / "empty"}', 'data_root', 'empty')
    add('missing', 'ann_file=2024', 'ann_file', '2024')
    for part in ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'):
        add('missing', f'{part}=None', part)
    return cases


def of_flags(folder: Path, photos: Path) -> list[Case]:
    """Bad arguments of each tool."""
    checkpoint = str(folder / 'text.pth')
    of_images = ['--images', str(photos), '--held-out', str(photos), '--size', '16']
    bases = {
        'sample': [checkpoint, '--out', str(folder / 'out')],
        'interpolate': [checkpoint, '--out', str(folder / 'out')],
        'invert': [checkpoint, str(photos / '0.png'), '--out', str(folder / 'out')],
        'evaluate': [*of_images, '--space', 'pixels=', '--out', str(folder / 'cards.json')],
        'pretrain_encoder': [str(photos), str(folder / 'encoder.pth'), '--device', 'cpu'],
        'build_prior_bank': ['--images', str(photos), '--bank-file', str(folder / 'bank')],
        'report': [str(folder / 'run')],
        'compare': [CONFIG, '--work-dir', str(folder / 'comparison')],
        'train': _train(folder, photos),
        'test': [CONFIG, checkpoint],
    }
    cases = []
    for tool, base in bases.items():
        for flag, least in FLAGS.get(tool, {}).items():
            name = flag.replace('-', '.')
            for kind, value in (
                ('out of range', least - 1),
                ('wrong type', 'x'),
                ('wrong type', '1.5'),
            ):
                cases.append(Case(kind, tool, [*base, f'--{flag}={value}'], [name, str(value)]))
            cases.append(Case('missing', tool, [*base, f'--{flag}'], [name, 'expected one']))
        cases.append(
            Case('misspelt', tool, [*base, '--debgu'], ['--debgu', 'did you mean --debug'])
        )
        cases.append(Case('missing', tool, [], ['']))
    return cases


def of_files(folder: Path, photos: Path) -> list[Case]:
    """Files and folders that are missing or of another kind."""
    cases, out = [], str(folder / 'out')
    places = {'nowhere.pth': 'missing', str(folder / 'text.pth'): 'wrong type'}
    places |= {str(folder / 'empty'): 'missing', str(photos / '0.png'): 'wrong type'}
    for place, kind in places.items():
        words = [Path(place).name]
        for tool in ('sample', 'interpolate'):
            cases.append(Case(kind, tool, [place, '--out', out], words))
        cases.append(Case(kind, 'invert', [place, str(photos / '0.png'), '--out', out], words))
        cases.append(Case(kind, 'evaluate', [place, '--held-out', str(photos)], words))
        cases.append(Case(kind, 'report', [place], words))
    for place in ('nowhere', str(folder / 'empty')):
        images = ['--images', place, '--image-size', '16', '--bank-file', str(folder / 'bank')]
        cases.append(Case('missing', 'build_prior_bank', images, [place]))
        cases.append(Case('missing', 'pretrain_encoder', [place, str(folder / 'e.pth')], [place]))
        held_out = ['--images', str(photos), '--held-out', place, '--size', '16']
        cases.append(Case('missing', 'evaluate', held_out, [place]))
    for tool in ('train', 'build_prior_bank', 'compare'):
        config = str(ROOT / 'configs/disp_biggan_foldr.py')
        cases.append(Case('misspelt', tool, [config], ['disp_biggan_foldr', 'did you mean']))
    return cases


def answer(case: Case) -> tuple[object, str]:
    """Run a case in this process; return the exit status and what went to stderr."""
    out, err = io.StringIO(), io.StringIO()
    status: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            load_tool(case.tool).main(case.arguments)
        except SystemExit as stop:
            status = stop.code
        except BaseException as error:
            status = f'traceback {type(error).__name__}: {error}'
    return status, err.getvalue()


def load_tool(name: str):
    """Import a script of tools/ as a module."""
    name, file = f'tools_{name}', ROOT / f'tools/{name}.py'
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def judge(case: Case) -> str:
    """Say what is wrong with the answer to a case; '' if nothing is."""
    status, said = answer(case)
    lines = [line for line in said.splitlines() if line.startswith('error: ')]
    if status != 2:
        return f'exit status {status}'
    if len(lines) != 1 or 'Traceback' in said:
        return f'{len(lines)} error lines'
    spelt = lines[0].replace('-', '.').replace('_', '.')
    lost = [word for word in case.words if word.replace('-', '.').replace('_', '.') not in spelt]
    return f'{lost} not in: {lines[0]}' if lost else ''


def main(argv: list[str] | None = None) -> list[str]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--num', type=int, help='cases to draw (default: all)')
    parser.add_argument('--seed', type=int, default=0, help='of the draw')
    args = parser.parse_args(argv)
    started, faults, counts = time.monotonic(), [], Counter()
    with tempfile.TemporaryDirectory() as folder:
        cases = make_cases(Path(folder))
        if args.num is not None:
            cases = random.Random(args.seed).sample(cases, min(args.num, len(cases)))
        for case in cases:
            fault = judge(case)
            counts[case.kind] += 1
            if fault:
                short = ' '.join(case.arguments[-1:])
                faults.append(f'{case.kind}: {case.tool} ... {short}: {fault}')
                print(faults[-1], flush=True)
    listed = ', '.join(f'{num} {kind}' for kind, num in sorted(counts.items()))
    print(
        f'{len(cases)} bad inputs ({listed}): {len(cases) - len(faults)} told in one line, '
        f'{len(faults)} not, in {time.monotonic() - started:.0f} s'
    )
    return faults


if __name__ == '__main__':
    sys.exit(1 if main() else 0)
