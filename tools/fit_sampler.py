"""Fit another sampler of priors for a trained GAN, and write it into a checkpoint.

python tools/fit_sampler.py work_dirs/disp_biggan_digits/iter_800.pth \\
    --sampler type=GMMPriorSampler num_components=20 --out gmm.pth
"""

import argparse
import os

from disp_plugin.cli.errors import check_files, user_errors
from disp_plugin.cli.options import CfgOptionsAction, add_shared, make_parser, read_part


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_shared(parser, 'checkpoint')
    parser.add_argument(
        '--sampler',
        nargs='+',
        action=CfgOptionsAction,
        required=True,
        metavar='KEY=VALUE',
        help='config of the sampler: type=GMMPriorSampler num_components=1000',
    )
    parser.add_argument(
        '--out', required=True, help='checkpoint to write; the same file to replace its sampler'
    )
    parser.add_argument('--bank-file', help="the bank (default: that of the checkpoint's config)")
    parser.add_argument(
        '--whole-bank',
        action='store_true',
        help='fit to all images of the bank, where the training images are gone',
    )
    add_shared(parser, '--debug')
    return parser.parse_args(argv)


def fit_sampler(args: argparse.Namespace) -> None:
    from mmengine.config import Config

    import disp_plugin.register  # noqa: F401
    from disp_plugin.applications import refit_sampler
    from disp_plugin.cli.check_config import check_config
    from disp_plugin.files import check_out

    if 'type' not in args.sampler:
        raise ValueError('--sampler needs a type, such as type=GMMPriorSampler')
    chosen = read_part(args.sampler, '--sampler')
    check_config(Config(dict(model=dict(sampler=chosen))), '--sampler')
    check_out(args.out, is_folder=False)
    sampler = refit_sampler(args.checkpoint, chosen, args.out, args.bank_file, args.whole_bank)
    sizes = ', '.join(f'{k} {tuple(v.shape)}' for k, v in sampler.state_dict().items())
    print(f'{args.out} samples by {type(sampler).__name__}: {sizes}')


def main(argv: list[str] | None = None) -> None:
    # read by SciPy when it is imported: a sampler with a device fits on torch tensors
    os.environ.setdefault('SCIPY_ARRAY_API', '1')
    args = parse_args(argv)
    with user_errors(args.debug):
        check_files(args)
        fit_sampler(args)


if __name__ == '__main__':
    main()
