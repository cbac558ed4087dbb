"""Train a GAN from a config.

python tools/train.py configs/disp_biggan_digits.py
python tools/train.py configs/disp_biggan_folder.py --auto --cfg-options data_root=my_photos
python tools/train.py configs/disp_sngan_anime100.py --method per_image --technique diffaug
"""

import argparse
import os
import shlex
import sys
from typing import Any

from disp_plugin.cli.options import add_shared, make_parser
from disp_plugin.precision import PRECISIONS


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('config', help='file of the config')
    parser.add_argument('--work-dir', help='where logs and checkpoints go')
    parser.add_argument(
        '--resume', action='store_true', help='continue from the newest checkpoint of the work dir'
    )
    add_shared(
        parser,
        '--overwrite',
        overwrite='remove the checkpoints, metric cards and logs of another run in the work dir',
    )
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        help="type in which networks train (auto: what this machine is good at; default: config's)",
    )
    parser.add_argument(
        '--amp', dest='precision', action='store_const', const='auto', help='--precision auto'
    )
    add_shared(parser, '--cfg-options')
    parser.add_argument(
        '--auto',
        action='store_true',
        help='choose image_size, batch_size and max_iters for the images found, where not given',
    )
    parser.add_argument(
        '--method',
        metavar='NAME',
        help='a baseline: unconditional, per_image, ssgan, icgan, self_conditioned, logo, '
        'glann, glann_disp (configs/_base_/methods/)',
    )
    parser.add_argument(
        '--technique',
        nargs='+',
        default=[],
        metavar='NAME',
        help='techniques to combine with: diffaug, ada, freezed, ... (configs/_base_/techniques/)',
    )
    parser.add_argument(
        '--resume-from',
        metavar='CHECKPOINT',
        help='continue from this checkpoint; with --resume only if the work dir has none',
    )
    group = parser.add_argument_group('metrics during training')
    add_shared(group, '--held-out', '--space')
    group.add_argument('--val-interval', type=int, help='iterations (default: of checkpoints)')
    group.add_argument(
        '--patience', type=int, help='stop after so many validations without a better one'
    )
    parser.add_argument(
        '--no-build-bank', action='store_true', help='refuse if the bank is missing'
    )
    parser.add_argument('--dry-run', action='store_true', help='say what would be done, and stop')
    add_shared(parser, '--launcher', '--local-rank', '--debug')
    add_shared(parser, '--seed', seed="of all random draws, in place of the config's")
    parser.set_defaults(seed=None)
    return parser.parse_args(argv)


def train(args: argparse.Namespace) -> None:
    import disp_plugin.register  # noqa: F401 (first: it imports torch and mmagic without garbage collection)
    from disp_plugin.cli import prepare_run, resume
    from disp_plugin.cli.config import load_config, merge_options
    from disp_plugin.cli.work_folder import check_work_folder, remove_run, was_restarted

    cfg = load_config(args.config, args.cfg_options, args.method, args.technique)
    prepare_run.check_is_a_run(cfg, args.config)
    if args.auto:
        from disp_plugin.cli.choose_schedule import choose_options

        merge_options(cfg, choose_options(cfg, set(args.cfg_options or ())))
    prepare_run.check_sizes(cfg)
    if args.precision is not None:
        prepare_run.set_precision(cfg, args.precision)
    prepare_run.check_parts(cfg)
    cfg.launcher = args.launcher
    if args.seed is not None:
        cfg.merge_from_dict({'randomness.seed': args.seed})
    prepare_run.choose_work_dir(cfg, args.work_dir, args.config)
    resume.set_resume(cfg, args.resume, args.resume_from)
    overwrite = args.overwrite and not was_restarted()  # else what the first start made
    check_work_folder(cfg, overwrite)
    _add_validation(cfg, args)
    resume.check_resume(cfg)
    prepare_run.check_weights(cfg)
    prepare_run.check_training_set(cfg)
    if args.dry_run:
        print(prepare_run.summarize(cfg))
        return
    prepare_run.prepare_work_dir(cfg, args.work_dir, args.config)
    prepare_run.ensure_bank(cfg, build=not args.no_build_bank)

    from mmengine.dist import is_main_process
    from mmengine.runner import Runner

    from disp_plugin.distributed import leave_group

    runner = Runner.from_cfg(cfg)
    prepare_run.add_finite_hook(runner)
    prepare_run.check_space(runner)
    if overwrite and is_main_process():  # once nothing can be refused any more
        remove_run(cfg.work_dir, keep=runner.timestamp)
    runner.train()
    leave_group()
    print(f'logs and checkpoints are in {cfg.work_dir}')


def _add_validation(cfg: Any, args: argparse.Namespace) -> None:
    if args.held_out is None:
        for name in ('space', 'val_interval', 'patience'):
            if getattr(args, name) is not None:
                flag = name.replace('_', '-')
                raise ValueError(f'--{flag} needs --held-out, the images to measure by')
        return
    import disp_plugin.register  # noqa: F401
    from disp_plugin.evaluation.held_out import add_validation

    metric = add_validation(cfg, args.held_out, args.space, args.val_interval, args.patience)
    print(f'the best snapshot is chosen by {metric}')


def _say_how_to_go_on(args: argparse.Namespace, words: list[str]) -> str:
    if args.launcher != 'none':
        return 'Give the same command with --resume to go on from the newest checkpoint.'
    words = [word for word in words if word not in ('--resume', '--overwrite')]
    return f'Go on with: {shlex.join(["python", sys.argv[0], *words, "--resume"])}'


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))

    from disp_plugin.cli.errors import check_files, check_range, user_errors

    hint = _say_how_to_go_on(args, sys.argv[1:] if argv is None else argv)
    with user_errors(args.debug, resume_hint=hint):
        check_files(args)
        check_range(args, seed=0, val_interval=1, patience=1)
        train(args)


if __name__ == '__main__':
    main()
