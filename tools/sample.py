"""Sample images from a trained GAN.

python tools/sample.py work_dirs/disp_biggan_digits/iter_1200.pth --out samples
python tools/sample.py CHECKPOINT --out variations --prior-from my_image.png

The folder holds the samples alone; their sheet lies beside it: variations_grid.png.
"""

import argparse

from disp_plugin.cli.errors import check_files, check_range, user_errors
from disp_plugin.cli.options import add_shared, make_parser

MAX_IN_SHEET = 1024


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_shared(parser, 'checkpoint')
    parser.add_argument('--out', default='samples', help='folder to write (default: samples)')
    parser.add_argument('--num', type=int, default=64, help='number of images (default: 64)')
    parser.add_argument(
        '--truncation',
        type=float,
        help='clamp noise to this absolute value; of a StyleGAN2, psi: the fraction of their '
        'distance from the mean that styles keep',
    )
    parser.add_argument(
        '--prior-from', metavar='IMAGE', help='variations of this image: its prior, many noises'
    )
    parser.add_argument('--nrow', type=int, help='images in a row of the sheet (default: square)')
    add_shared(parser, '--overwrite', '--config', '--sample-model', '--batch-size')
    add_shared(parser, '--device', '--debug')
    add_shared(parser, '--seed', seed='same seed, same images (default: 0)')
    return parser.parse_args(argv)


def sample(args: argparse.Namespace) -> None:
    from disp_plugin import applications
    from disp_plugin.distributed import choose_device
    from disp_plugin.progress import track

    names = [f'{index:06d}.png' for index in range(args.num)]
    folder = applications.SampleFolder(args.out, names, args.overwrite)
    device = choose_device(args.device)
    gan, cfg = applications.load_gan(args.checkpoint, args.config, device)
    prior = applications.encode_image(cfg, args.prior_from, device) if args.prior_from else None
    noise, priors = applications.draw_inputs(gan, args.num, args.seed, prior)
    batches = applications.sample_images(
        gan, noise, priors, args.batch_size, args.truncation, args.sample_model
    )
    images = (image for batch in batches for image in batch)
    shown = folder.write(track(images, args.num, 'sampling'), MAX_IN_SHEET)
    applications.write_sheet(folder.sheet, shown, args.nrow)
    print(f'{args.num} images in {args.out}, the first {len(shown)} of them in {folder.sheet}')


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with user_errors(args.debug):
        check_files(args)
        check_range(args, num=1, batch_size=1, nrow=1, seed=0)
        sample(args)


if __name__ == '__main__':
    main()
