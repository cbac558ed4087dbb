"""Measure on a GPU what docs/numbers.md has to say of one, in one call of seven minutes.

    python benchmarks/gpu.py --out gpu_numbers

Each part is a process with a limit of its own; its row and its output are in the folder as soon as
it ends, whatever becomes of the others. The most important come first, and what does not fit into
the budget is left out and named. --tiny tries all parts with tiny sizes, on a CPU too.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FLOAT32 = '--cfg-options ' + ' '.join(
    f'optim_wrapper.{part}.precision=float32' for part in ('generator', 'discriminator')
)
COMPILED = '--cfg-options model.compile_networks=True'


class Part(NamedTuple):
    """A row of the table: what is measured, in how many seconds at most, by which command."""

    name: str
    limit: int
    command: str


def list_parts(tiny):
    """List the parts, the most important ones first."""
    whole = 'benchmarks/whole_run.py'
    step = 'benchmarks/training_step.py --device ' + ('cpu' if tiny else 'cuda')
    gmm = 'benchmarks/gmm_fit.py --only ours' + ('' if tiny else ' --device cuda')
    if tiny:
        small = large = '--channels 4 --batch-size 4 --num-images 20 --iters 6 --interval 2'
        steps = [('sngan', '--size 32 --channels 4 --batch-size 4 --pairs 1')]
        rows, sizes = [300], '--dim 16 --components 4'
        operators = '--batch-size 1 --channels 2 --size 8 --repeats 1'
    else:
        small = '--size 128 --batch-size 32 --iters 200 --interval 20'
        large = '--size 256 --batch-size 16 --iters 96 --interval 16'
        steps = [(gan, '--size 128 --channels 64 --batch-size 32') for gan in ('biggan', 'sngan')]
        steps += [('stylegan2', '--size 256 --channels 512 --batch-size 16 --pairs 2')]
        rows, sizes = [50_000, 200_000, 500_000], '--dim 4096 --components 1000'
        operators = '--batch-size 16'
    files = (file for file in (ROOT / 'tests').rglob('test_*.py') if 'mark.gpu' in file.read_text())
    tests = ' '.join(str(file.relative_to(ROOT)) for file in files)
    style = f'{whole} --gan stylegan2 {large}'
    return [
        Part('GPU tests', 100, f'-m pytest -m gpu -n 4 -p no:cacheprovider {tests}'),
        Part('whole run of BigGAN, auto', 90, f'{whole} {small}'),
        Part('whole run of BigGAN, float32', 60, f'{whole} --only ours {small} {FLOAT32}'),
        Part('whole run of BigGAN, compiled', 110, f'{whole} --only ours {small} {COMPILED}'),
        Part(f'mixture, {rows[0]} priors', 90, f'{gmm} --rows {rows[0]} {sizes}'),
        Part('whole run of StyleGAN2, auto', 70, style),
        Part('whole run of StyleGAN2, float32', 70, f'{style} {FLOAT32}'),
        Part('whole run of SNGAN, auto', 90, f'{whole} --gan sngan {small}'),
        Part('operators', 40, f'benchmarks/operators.py {operators}'),
        *(Part(f'step of {gan}', 60, f'{step} --gan {gan} {sizes}') for gan, sizes in steps),
        *(Part(f'mixture, {num} priors', 120, f'{gmm} --rows {num} {sizes}') for num in rows[1:]),
    ]


def read_json(output):
    """Read what a benchmark printed last: one JSON line, or an object over several lines."""
    try:
        found = json.loads(output[output.rfind('\n{') + 1 :])
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def summarize(output):
    """Say in a cell of a table what a part printed: numbers of its JSON, or its last line."""
    found = read_json(output)
    if found is None:
        return (output.strip().split('\n') or [''])[-1][:150]
    if 'columns' in found:  # operators
        calls = {key: value[-1] for key, value in found.items() if ': ' in key}
        return 'ours to mmcv, ' + ', '.join(f'{key} {value}' for key, value in calls.items())
    if 'images_per_s' in found.get('ours', {}):
        ours, ratio = found['ours'], found.get('ratio', {})
        cells = [f'{1000 / ours["images_per_s"]:.2f} s/kimg']
        cells += [f'{ours["mib_cuda"]:.0f} MiB'] if 'mib_cuda' in ours else []
        cells += [f'{ratio["images_per_s"]} times mmagic'] if ratio else []
        return ', '.join(cells)
    numbers = found.get('ours') or {
        k: v for k, v in found.items() if k.startswith(('ms_', 'ratio'))
    }
    return ', '.join(f'{key} {value}' for key, value in numbers.items())


def run(part, seconds, file):
    """Run a part and end its processes after so many seconds; return its status and output."""
    env = {
        **os.environ,
        'PYTHONPATH': str(ROOT),
        'PYTHONUNBUFFERED': '1',
        'PYTHONWARNINGS': 'ignore',
    }
    with file.open('w') as log:
        process = subprocess.Popen(
            [sys.executable, *part.command.split()],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=ROOT,
            start_new_session=True,
        )
        try:
            status = str(process.wait(seconds))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            status = f'cut after {seconds:.0f} s'
    return status, file.read_text(errors='replace')


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--out', type=Path, default=Path('work_dirs/gpu_numbers'))
    parser.add_argument('--budget', type=float, default=420, help='seconds of all parts together')
    parser.add_argument('--only', help='parts whose name holds this')
    parser.add_argument('--tiny', action='store_true')
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + args.budget
    with (args.out / 'rows.md').open('w', buffering=1) as rows:
        for number, part in enumerate(list_parts(args.tiny)):
            if args.only and args.only not in part.name:
                continue
            left = end - time.monotonic()
            status, output = 'left out: no time', ''
            if left > 10:
                file = args.out / f'{number:02d}_{part.name.replace(" ", "_").replace(",", "")}.txt'
                status, output = run(part, min(part.limit, left), file)
            cell = summarize(output) if status == '0' else f'failed ({status}): {summarize(output)}'
            row = f'| {part.name} | `{part.command}` | {cell} |'
            print(row, file=rows)
            print(row, flush=True)


if __name__ == '__main__':
    main()
