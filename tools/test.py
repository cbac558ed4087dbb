"""Evaluate a trained GAN by the metrics of its config (test_dataloader, test_cfg, test_evaluator).

python tools/test.py my_config.py work_dirs/my_config/iter_1600.pth --out metrics.json
"""

import argparse
import json
import os

from disp_plugin.cli.options import add_shared, make_parser


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('config', help='file of the config')
    parser.add_argument('checkpoint', help='checkpoint, or work folder: its last one')
    parser.add_argument('--out', help='JSON file to write the metrics to')
    parser.add_argument('--work-dir', help='where the log goes')
    add_shared(parser, '--cfg-options', '--launcher', '--local-rank', '--debug')
    return parser.parse_args(argv)


def evaluate(args: argparse.Namespace) -> None:
    import disp_plugin.register  # noqa: F401
    from disp_plugin.applications.load_gan import find_checkpoint, read_checkpoint, read_config_of
    from disp_plugin.cli import prepare_run
    from disp_plugin.cli.config import load_config
    from disp_plugin.evaluation.held_out import check_not_chosen_by
    from disp_plugin.files import check_out, write_file

    if args.out:
        check_out(args.out, is_folder=False)
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    cfg.load_from = str(find_checkpoint(args.checkpoint))
    content = read_checkpoint(cfg.load_from)  # what is damaged is refused before anything is built
    if cfg.get('test_dataloader') is None:
        raise ValueError(
            f'{args.config} has no test_dataloader, test_cfg and test_evaluator, so that there is '
            'nothing to evaluate; give it all three'
        )
    snapshot = os.path.basename(cfg.load_from)
    if snapshot.startswith('best_'):
        run = read_config_of(content)
        check_not_chosen_by(run, cfg.test_dataloader, 'test', snapshot)
    cfg.resume = False
    prepare_run.prepare_work_dir(cfg, args.work_dir, args.config)

    from mmengine.dist import is_main_process
    from mmengine.hooks import Hook
    from mmengine.runner import Runner

    from disp_plugin.distributed import leave_group

    collected: dict = {}

    class CollectMetrics(Hook):
        """mmagic's loops hand the metrics to hooks only."""

        def after_test_epoch(self, runner, metrics=None):
            collected.update(metrics or {})

    runner = Runner.from_cfg(cfg)
    runner.register_hook(CollectMetrics(), 'LOWEST')
    prepare_run.add_finite_hook(runner)
    runner.test()
    if args.out and is_main_process():
        write_file(args.out, json.dumps(collected, indent=2, default=float) + '\n')
    leave_group()


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))

    from disp_plugin.cli.errors import check_files, user_errors

    with user_errors(args.debug):
        check_files(args)
        evaluate(args)


if __name__ == '__main__':
    main()
