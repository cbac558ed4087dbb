"""Train methods x companions x seeds on one data set with one budget, and write one table.

python benchmarks/matrix.py configs/disp_sngan_digits.py --seeds 0 1 2 --max-iters 1200
python benchmarks/matrix.py configs/disp_sngan_digits.py --methods disp configs/mine.py
    --companions plain freezed="dict(model=dict(discriminator=dict(freeze=dict(type='FreezeD',
    blocks=2))))" --num-images 25 50 100

Methods: unconditional (no prior), per_image (one-hot priors of length 1), per_image_scaled (as long
as the priors of disp), disp, disp_untrained (its encoder with random weights), disp_any_pair (the
snapshots of disp, whose new priors mix any two rather than near ones), or any config. Every number
is of a run of this command: the baselines are trained too. Snapshots are chosen on the config's
val_dataloader and reported on its test_dataloader, or both on --held-out where it has none; all in
the same spaces: those of the config, of which 'encoder' is that of disp's priors and flatters disp.
To choose by it rather than by pixels, --cfg-options
default_hooks.checkpoint.save_best=kid1000_val_encoder.

The folder holds a run for each cell and seed, matrix.md, matrix.csv and matrix.png. The same
command goes on after an interruption; another one adds its cells and seeds to the same table,
where data set, number of iterations, --cfg-options and spaces are the same.
"""

import argparse
import os
import shlex
import sys
import traceback
from dataclasses import replace
from functools import partial
from pathlib import Path

from matrix_cells import Cell, check_methods, list_cells, read_companions, read_encoders
from matrix_picture import draw
from matrix_plan import Plan
from matrix_results import FILE, add_cells, read_matrix, write_results
from matrix_runs import Processes, Run, train_all
from matrix_settings import check_settings, list_settings

from disp_plugin.cli.options import OptionsAction


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', nargs='?', help="the data set's DISP config")
    parser.add_argument(
        '--methods',
        nargs='+',
        default=['unconditional', 'per_image', 'per_image_scaled', 'disp', 'disp_untrained'],
        help='see above (default: all of them but disp_any_pair)',
    )
    parser.add_argument(
        '--companions',
        nargs='+',
        default=['plain', 'diffaugment'],
        metavar='NAME[=OVERRIDES]',
        help='plain, diffaugment, or NAME="dict(model=dict(...))" (default: plain diffaugment)',
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2], help='default: 0 1 2')
    parser.add_argument('--num-images', nargs='+', type=int, help='training images; nested subsets')
    parser.add_argument(
        '--encoder',
        nargs='+',
        metavar='NAME=ENCODER',
        help='encoders of disp and disp_untrained: a file of tools/pretrain_encoder.py, or '
        '"dict(type=...)"; distances are measured in that of the first',
    )
    parser.add_argument(
        '--held-out',
        metavar='FOLDER',
        help='folder or manifest of images to measure by, for a config that names none',
    )
    parser.add_argument(
        '--space',
        nargs='+',
        action=OptionsAction,
        metavar='NAME=',
        help='where to measure on --held-out, as in tools/evaluate.py',
    )
    parser.add_argument('--max-iters', type=int, help="of every run (default: the config's)")
    parser.add_argument('--work-dir', help='default: work_dirs/matrix_<config>')
    parser.add_argument('--jobs', type=int, help='runs at once (default: one for each GPU, or 1)')
    parser.add_argument(
        '--table-only', action='store_true', help='write the table of the runs that are there'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        metavar='KEY=VALUE',
        help='fields to change in every config',
    )
    parser.add_argument('--debug', action='store_true', help='print the traceback of any error')
    args = parser.parse_args(argv)
    if args.config is None and not (args.table_only and args.work_dir):
        parser.error('name a config, or an earlier matrix by --work-dir and --table-only')
    if args.space is not None and args.held_out is None:
        parser.error('--space needs --held-out, the images to measure by')
    if min(args.seeds) < 0:
        parser.error('--seeds must not be negative')
    for name in ('max_iters', 'jobs'):
        if (value := getattr(args, name)) is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1, but is {value}')
    return args


def plan_runs(
    args: argparse.Namespace, work_dir: Path, processes: Processes
) -> tuple[list[Run], dict[str, str]]:
    """Settle every run; say of each cell that cannot be one why."""
    import disp_plugin.register  # noqa: F401
    from disp_plugin.evaluation.spaces import read_spaces

    companions, encoders = read_companions(args.companions), read_encoders(args.encoder)
    options = dict(args.cfg_options or {})
    if args.max_iters:
        options['max_iters'] = args.max_iters
    files = check_methods(Path(args.config), args.methods)
    plan = Plan(
        args.config,
        files,
        companions,
        encoders,
        options,
        work_dir,
        processes.start,
        args.held_out,
        read_spaces(args.space),
    )
    settings = list_settings(plan.base, options, plan.spaces)
    known = read_matrix(work_dir).get('settings') if (work_dir / FILE).is_file() else None
    check_settings(work_dir, known, settings)
    cells = list_cells(args.methods, companions, args.num_images, encoders)
    runs, notes, failed = settle_all(plan, cells, args)
    if notes:
        settled = [cell for cell in cells if cell.name in notes]
        command = shlex.join(['python', 'benchmarks/matrix.py', *sys.argv[1:]])
        add_cells(work_dir, settled, notes, command, settings)
    # seed by seed, so that there is a table of everything as early as can be
    return sorted(runs, key=lambda run: args.seeds.index(run.seed)), failed


def settle_all(
    plan: Plan, cells: list[Cell], args: argparse.Namespace
) -> tuple[list[Run], dict[str, str], dict[str, str]]:
    """Settle the runs of each cell; whatever is wrong with one stops no other."""
    from disp_plugin.cli.errors import explain_error

    runs, notes, failed = [], {}, {}
    for cell in cells:
        any_pair = cell.method == 'disp_any_pair'
        trained_by = replace(cell, method='disp').name if any_pair else None
        try:
            cfg, note = plan.settle(cell)
            runs += [Run.of(cell.name, s, cfg, plan.work_dir, trained_by) for s in args.seeds]
            notes[cell.name] = note
        except Exception as error:
            if args.debug:
                traceback.print_exc()
            told = str(error) if isinstance(error, RuntimeError) else explain_error(error)
            failed[cell.name] = told or f'{type(error).__name__}: {error}'
    return runs, notes, failed


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    from disp_plugin.cli.errors import user_errors

    with user_errors(args.debug, resume_hint='Give the same command to go on.'):
        work_dir = Path(args.work_dir or f'work_dirs/matrix_{Path(args.config).stem}')
        failed: dict[str, str] = {}
        if not args.table_only:
            processes = Processes()
            runs, failed = plan_runs(args, work_dir, processes)
            table = partial(write_results, work_dir)
            # what is only sampled comes after what is trained
            for is_sampled in (False, True):
                part = [run for run in runs if bool(run.trained) == is_sampled]
                failed |= train_all(part, args.jobs, processes, after_each=table) if part else {}
        if args.table_only or runs:
            write_results(work_dir)
            draw(work_dir)
            print(f'matrix.md, matrix.csv and matrix.png are in {work_dir}')
        if failed:
            listed = ''.join(f'\n  {name}: {reason}' for name, reason in failed.items())
            sys.exit(f'{len(failed)} failed:{listed}')


if __name__ == '__main__':
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    main()
