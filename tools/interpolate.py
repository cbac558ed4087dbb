"""Walk between two images in the space of priors, or between pairs of the sampler's priors.

python tools/interpolate.py work_dirs/disp_biggan_digits/iter_1200.pth --out walks
python tools/interpolate.py CHECKPOINT one.png other.png --out walk

The folder holds the images alone; all walks lie together beside it: walk_grid.png.
"""

import argparse

from disp_plugin.cli.errors import check_files, check_range, user_errors
from disp_plugin.cli.options import add_shared, make_parser


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_shared(parser, 'checkpoint')
    parser.add_argument(
        'images',
        nargs='*',
        metavar='IMAGE',
        help='the two ends (default: pairs of priors from the sampler)',
    )
    parser.add_argument('--out', default='walks', help='folder to write (default: walks)')
    parser.add_argument('--num', type=int, default=8, help='walks, each of its noise (default: 8)')
    parser.add_argument('--steps', type=int, default=10, help='images of a walk (default: 10)')
    add_shared(parser, '--overwrite', '--config', '--sample-model', '--batch-size')
    add_shared(parser, '--device', '--debug')
    add_shared(parser, '--seed', seed='same seed, same images (default: 0)')
    return parser.parse_intermixed_args(argv)


def draw_ends(gan, cfg, device, args):
    """Noise (N, Z), and the priors (N, D) that walks start from and end at."""
    from disp_plugin import applications

    if args.images:
        first, second = applications.encode_image(cfg, args.images, device).split(1)
        noise, _ = applications.draw_inputs(gan, args.num, args.seed, first)
        return noise, first.expand(args.num, -1), second.expand(args.num, -1)
    noise, priors = applications.draw_inputs(gan, 2 * args.num, args.seed)
    if priors is None:
        raise ValueError(
            f'the GAN of {args.checkpoint} takes no priors (it is a baseline), so that there is '
            'nothing to walk between'
        )
    return noise[: args.num], priors[::2], priors[1::2]


def interpolate(args: argparse.Namespace) -> None:
    if len(args.images) not in (0, 2):
        raise ValueError(f'a walk has two ends, but {len(args.images)} image(s) were given')

    from disp_plugin import applications
    from disp_plugin.distributed import choose_device
    from disp_plugin.progress import track

    names = [f'{walk:03d}_{step:03d}.png' for walk in range(args.num) for step in range(args.steps)]
    folder = applications.SampleFolder(args.out, names, args.overwrite)
    device = choose_device(args.device)
    gan, cfg = applications.load_gan(args.checkpoint, args.config, device)
    noise, first, second = draw_ends(gan, cfg, device, args)
    ends = ([values[row : row + 1] for values in (first, second, noise)] for row in range(args.num))
    walks = (
        applications.interpolate_priors(gan, *end, args.steps, args.batch_size, args.sample_model)
        for end in track(ends, args.num, 'walking')
    )
    shown = folder.write(image for walk in walks for image in walk)
    applications.write_sheet(folder.sheet, shown, args.steps)
    print(f'{args.num} walks of {args.steps} images in {args.out}, together in {folder.sheet}')


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with user_errors(args.debug):
        check_files(args)
        check_range(args, num=1, steps=2, seed=0, batch_size=1)
        interpolate(args)


if __name__ == '__main__':
    main()
