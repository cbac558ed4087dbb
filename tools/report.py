"""Write the report of a run: one HTML page that needs nothing but itself.

python tools/report.py work_dirs/disp_biggan_digits
python tools/report.py WORK_DIR --out report.html --checkpoint last
"""

import argparse

from disp_plugin.cli.options import add_shared, make_parser


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('work_dir', help="the run's folder")
    parser.add_argument(
        '--out', help='file to write, or folder for report.html (default: that folder)'
    )
    parser.add_argument(
        '--checkpoint',
        default='best',
        metavar='best|last|FILE',
        help='the snapshot (default: best; the last where no best one was kept)',
    )
    add_shared(parser, '--seed', '--debug', seed='of the samples (default: 0)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)

    from disp_plugin.cli.errors import check_range, user_errors

    with user_errors(args.debug):
        check_range(args, seed=0)
        from disp_plugin.evaluation.report.page import write_report

        file = write_report(args.work_dir, args.out, args.checkpoint, args.seed)
        print(f'the report: {file} ({file.stat().st_size / 1e6:.1f} MB)')


if __name__ == '__main__':
    main()
