"""Train methods x techniques x seeds on one data set with one budget, and write one table.

python tools/compare.py configs/disp_biggan_folder.py --auto --cfg-options data_root=my_photos
    --methods unconditional per_image disp --techniques plain diffaug --seeds 0 1 2
python tools/compare.py configs/disp_sngan_digits.py --methods disp configs/mine.py
    --techniques plain diffaug+consistency mine="dict(model=dict(loss='wasserstein'))"
    --num-images 25 50 100

Methods: unconditional (no prior), per_image (a learned embedding for each image), per_image_scaled
(the same, as long as the priors of disp), disp, disp_untrained (its encoder with random weights),
disp_any_pair (the snapshots of disp, with priors that mix any two images rather than near ones),
icgan (real images are neighbors of those whose priors are given), ssgan, self_conditioned, logo,
or any config. Techniques: plain, the files of configs/_base_/techniques/, or changes of your own.

Every number is of a run of this command: the baselines are trained too. The best snapshots are
chosen on the config's val_dataloader and reported on its test_dataloader. A config that names
neither is measured on --held-out, or on a fifth of the training images, which no run then trains
on; these report on the last snapshot, and none chooses a best one. All cells are measured in the
same spaces; 'encoder' is that of disp's priors and flatters disp. Choose by it rather than by
pixels with --cfg-options default_hooks.checkpoint.save_best=kid1000_val_encoder.

The folder holds a run for each cell and seed, comparison.md, comparison.csv and comparison.png. The
same command goes on after an interruption; another one adds its cells and seeds to the same table,
where data set, number of iterations, --cfg-options and spaces are the same.
"""

import argparse
import os
import shlex
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from disp_plugin.cli.options import add_shared, make_parser

if TYPE_CHECKING:
    from disp_plugin.cli.compare.runs import Run


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('config', nargs='?', help="the data set's DISP config")
    parser.add_argument(
        '--methods',
        nargs='+',
        default=['unconditional', 'per_image', 'per_image_scaled', 'disp', 'disp_untrained'],
        help='see above (default: all of them but disp_any_pair)',
    )
    parser.add_argument(
        '--techniques',
        nargs='+',
        default=['plain', 'diffaug'],
        metavar='NAME[=CHANGES]',
        help='plain, NAME, NAME+NAME, or NAME="dict(model=dict(...))" (default: plain diffaug)',
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2], help='default: 0 1 2')
    parser.add_argument('--num-images', nargs='+', type=int, help='training images; nested subsets')
    parser.add_argument(
        '--encoder',
        nargs='+',
        metavar='NAME=ENCODER',
        help='encoders of disp and its variants: a file of tools/pretrain_encoder.py, or '
        '"dict(type=...)"; distances are measured in that of the first',
    )
    add_shared(
        parser,
        '--held-out',
        '--space',
        held_out='folder or manifest of images to measure by, for a config that names none',
        space='where to measure then, as in tools/evaluate.py',
    )
    parser.add_argument('--max-iters', type=int, help="of every run (default: the config's)")
    parser.add_argument(
        '--auto', action='store_true', help='sizes and iterations by the images, as tools/train.py'
    )
    parser.add_argument('--work-dir', help='default: work_dirs/compare_<config>')
    parser.add_argument('--jobs', type=int, help='runs at once (default: one for each GPU, or 1)')
    parser.add_argument(
        '--table-only', action='store_true', help='write the table of the runs that are there'
    )
    add_shared(
        parser,
        '--overwrite',
        overwrite='remove the comparison in the work dir, its runs included, and begin anew',
    )
    add_shared(parser, '--cfg-options', '--debug', cfg_options='fields to change in every config')
    args = parser.parse_args(argv)
    if args.config is None and not (args.table_only and args.work_dir):
        parser.error('name a config, or an earlier comparison by --work-dir and --table-only')
    if min(args.seeds) < 0:
        parser.error('--seeds must not be negative')
    for name in ('max_iters', 'jobs'):
        if (value := getattr(args, name)) is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1, but is {value}')
    return args


def plan_runs(args: argparse.Namespace, work_dir: Path) -> tuple[list['Run'], dict[str, str]]:
    """Settle every run; say of each cell that cannot be one why."""
    import disp_plugin.register  # noqa: F401
    from disp_plugin.cli.compare import cells as axes
    from disp_plugin.cli.compare.plan import Plan
    from disp_plugin.cli.compare.table import Comparison, check_settings, remove_comparison
    from disp_plugin.cli.errors import explain_error
    from disp_plugin.cli.work_folder import was_restarted

    techniques, encoders = axes.read_techniques(args.techniques), axes.read_encoders(args.encoder)
    axes.check_methods(args.methods)
    options = dict(args.cfg_options or {})
    if args.max_iters:
        options['max_iters'] = args.max_iters
    plan = Plan(
        args.config, techniques, encoders, options, work_dir, args.held_out, args.space, args.auto
    )
    settings = plan.settings()
    if args.overwrite and not was_restarted():
        remove_comparison(work_dir)
    check_settings(work_dir, settings)
    runs, notes, failed = [], {}, {}
    cells = axes.list_cells(args.methods, techniques, args.num_images, encoders)
    for cell in cells:
        try:  # whatever is wrong with one cell stops no other
            cfg, notes[cell.name] = plan.settle(cell)
            runs += [plan.make_run(cell, cfg, seed) for seed in args.seeds]
        except Exception as error:
            if args.debug:
                traceback.print_exc()
            failed[cell.name] = explain_error(error) or f'{type(error).__name__}: {error}'
    if notes:
        settled = {cell.name: cell for cell in cells if cell.name in notes}
        command = shlex.join(['python', 'tools/compare.py', *sys.argv[1:]])
        Comparison(settled, notes, [command], settings).write(work_dir)
    # seed by seed: there is a table of everything as early as can be
    return sorted(runs, key=lambda run: args.seeds.index(run.seed)), failed


def compare(args: argparse.Namespace) -> None:
    from disp_plugin.cli.compare.picture import draw
    from disp_plugin.cli.compare.runs import train_all
    from disp_plugin.cli.compare.table import write_results
    from disp_plugin.cli.work_folder import list_saved

    work_dir = Path(args.work_dir or f'work_dirs/compare_{Path(args.config).stem}')
    if found := list_saved(work_dir):
        raise ValueError(
            f'the work folder {work_dir} holds a run ({found[0]}), but a comparison needs a folder '
            'of its own; choose another --work-dir'
        )
    failed: dict[str, str] = {}
    runs: list[Run] = []
    if not args.table_only:
        runs, failed = plan_runs(args, work_dir)
        # what is only sampled comes after what is trained
        for is_sampled in (False, True):
            part = [run for run in runs if bool(run.trained) == is_sampled]
            failed |= train_all(part, args.jobs, partial(write_results, work_dir)) if part else {}
    if args.table_only or runs:
        write_results(work_dir)
        draw(work_dir)
        print(f'comparison.md, comparison.csv and comparison.png are in {work_dir}')
    if failed:
        listed = ''.join(f'\n  {name}: {reason}' for name, reason in failed.items())
        sys.exit(f'{len(failed)} failed:{listed}')


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    from disp_plugin.cli.errors import check_files, user_errors

    with user_errors(
        args.debug, resume_hint='Give the same command, without --overwrite, to go on.'
    ):
        check_files(args)
        compare(args)


if __name__ == '__main__':
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    main()
