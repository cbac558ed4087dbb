"""Make images from the prior of an altered image: semantic diffusion and sketch to image.

python tools/edit.py work_dirs/disp_biggan_digits one.png --cut-mix other.png --out edited
python tools/edit.py CHECKPOINT IMAGE --cut-out --box 4 4 8 8
python tools/edit.py CHECKPOINT IMAGE --sketch

Without an edit they are the image's variations, so that a sketch of one's own goes in as it is. The
folder holds the samples alone. Beside it lie edited_grid.png (the image, the edited image, the
samples) and edited_cosines.json: how near the samples are to both, by the run's encoder.
"""

import argparse
import json

from disp_plugin.cli.errors import check_files, check_range, user_errors
from disp_plugin.cli.options import add_shared, make_parser


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_shared(parser, 'checkpoint')
    parser.add_argument('image', metavar='IMAGE', help='file of the image')
    edits = parser.add_mutually_exclusive_group()
    edits.add_argument('--cut-mix', metavar='OTHER', help='a box shows another image')
    edits.add_argument('--cut-out', action='store_true', help='a box becomes gray')
    edits.add_argument('--sketch', action='store_true', help='edges in gray on white')
    parser.add_argument(
        '--box',
        nargs=4,
        type=int,
        metavar=('X', 'Y', 'W', 'H'),
        help='in pixels of the training images (default: drawn by the seed, as CutMix draws it)',
    )
    parser.add_argument('--out', default='edited', help='folder to write (default: edited)')
    parser.add_argument('--num', type=int, default=14, help='number of images (default: 14)')
    add_shared(parser, '--overwrite', '--config', '--sample-model', '--batch-size')
    add_shared(parser, '--device', '--debug')
    add_shared(parser, '--seed', seed='of the noise and of the box (default: 0)')
    return parser.parse_args(argv)


def edit_image(args, cfg, shown):
    """The edited image, and what was done, in words."""
    from disp_plugin import applications

    if args.sketch:
        return applications.sketch(shown), {'edit': 'sketch'}
    if not (args.cut_mix or args.cut_out):
        return shown, {'edit': 'none'}
    box = tuple(args.box or applications.draw_box(*shown.shape[:2], args.seed))
    if args.cut_out:
        return applications.cut_out(shown, box), {'edit': 'cut_out', 'box': box}
    other = applications.show_as_training(cfg, args.cut_mix)
    told = {'edit': 'cut_mix', 'other': args.cut_mix, 'box': box}
    return applications.cut_mix(shown, other, box), told


def edit(args: argparse.Namespace) -> None:
    if args.box and not (args.cut_mix or args.cut_out):
        raise ValueError('--box is of --cut-mix OTHER or --cut-out; give one of them')

    import numpy as np

    from disp_plugin import applications
    from disp_plugin.distributed import choose_device
    from disp_plugin.files import write_file

    names = [f'{index:06d}.png' for index in range(args.num)]
    folder = applications.SampleFolder(args.out, names, args.overwrite)
    device = choose_device(args.device)
    gan, cfg = applications.load_gan(args.checkpoint, args.config, device)
    shown = applications.show_as_training(cfg, args.image)
    edited, told = edit_image(args, cfg, shown)
    images, cosines = applications.sample_edited(
        gan, cfg, shown, edited, args.num, args.seed, args.batch_size, args.sample_model
    )
    folder.write(images)
    applications.write_sheet(folder.sheet, np.stack([shown, edited, *images]))
    told = {'image': args.image, **told, 'num': args.num, 'seed': args.seed, 'cosines': cosines}
    write_file(folder.beside('cosines.json'), json.dumps(told, indent=2) + '\n')
    print(f'{args.num} images in {args.out}, with both images before them in {folder.sheet}')
    listed = ', '.join(f'{name} {value:.3f}' for name, value in cosines.items())
    print(f'mean cosine by the encoder: {listed}')


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with user_errors(args.debug):
        check_files(args)
        check_range(args, num=1, seed=0, batch_size=1)
        edit(args)


if __name__ == '__main__':
    main()
